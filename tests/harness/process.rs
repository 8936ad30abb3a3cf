use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_owned()
}

/// The `keel` binary: `KEEL_BIN`, or beside the test binary in the target folder.
pub fn keel_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("KEEL_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test binary has a path");
    let debug = test.ancestors().find(|dir| dir.join("keel").is_file());
    debug.expect("build the binary first: cargo build -p keel").join("keel")
}

/// A port that was free a moment ago, on loopback.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("loopback has a free port").port()
}

/// A process that is killed, by its id, when dropped.
pub struct Child(std::process::Child);

impl Child {
    /// Starts with its output in `log`.
    pub fn spawn(command: &mut Command, log: &Path) -> Child {
        let out = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("the log can be written");
        let err = out.try_clone().expect("a file can be cloned");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        Child(child.unwrap_or_else(|e| panic!("start {command:?}: {e}")))
    }
    /// Process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
    /// SIGKILL, and wait until it is gone.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
    /// Sends a signal by name (`TERM`, `STOP`, `CONT`).
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(status.is_ok_and(|s| s.success()), "signal {name}");
    }
    /// Whether it ended, and how.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.0.try_wait().expect("a child can be asked")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `keel` to its end and returns its standard output; panics with its error output when it fails.
pub fn run_keel(args: &[&str]) -> String {
    let output =
        Command::new(keel_binary()).args(args).current_dir(root()).stdin(Stdio::null()).output().expect("keel runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "keel {args:?} failed: {err}\n{out}");
    out.into_owned()
}
