use crate::process::free_port;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// One address on loopback behind which there is one server today and another one tomorrow, as with a provider. Ends when dropped.
pub struct Route {
    pub port: u16,
    server: watch::Sender<u16>,
    _runtime: Runtime,
}

impl Route {
    /// To the server on `port`.
    pub fn to(port: u16) -> Route {
        let front = free_port();
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", front))).expect("the port is free");
        let (server, led) = watch::channel(port);
        runtime.spawn(serve(listener, led));
        Route { port: front, server, _runtime: runtime }
    }

    /// Leads to the server on `port` from now on; connections that stand are cut.
    pub fn lead_to(&self, port: u16) {
        self.server.send(port).expect("it serves as long as it lives");
    }
}

async fn serve(listener: TcpListener, mut led: watch::Receiver<u16>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let port = *led.borrow_and_update();
        let mut led = led.clone();
        tokio::spawn(async move {
            let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
            tokio::select! {
                ended = tokio::io::copy_bidirectional(&mut client, &mut server) => ended.map(drop),
                _ = led.changed() => Ok(()),
            }
        });
    }
}
