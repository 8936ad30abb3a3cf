use crate::process::free_port;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// TLS before a server on loopback, as a provider has it, with a certificate for `localhost` that nobody trusts by himself. Ends when dropped.
pub struct TlsFront {
    pub port: u16,
    /// The certificate, as PEM.
    pub certificate: PathBuf,
    _runtime: Runtime,
}

impl TlsFront {
    /// Before `port`; the certificate is written into `folder`.
    pub fn start(port: u16, folder: &Path) -> TlsFront {
        let front = free_port();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = folder.join(format!("{front}.pem"));
        std::fs::write(&certificate, made.cert.pem()).expect("the certificate is written");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key))
            .expect("a configuration of TLS");
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", front))).expect("the port is free");
        runtime.spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), port));
        TlsFront { port: front, certificate, _runtime: runtime }
    }

    /// `https://` and where it listens.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, port: u16) {
    while let Ok((client, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            let mut client = tls.accept(client).await?;
            let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}
