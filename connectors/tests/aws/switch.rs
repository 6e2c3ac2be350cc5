//! What stands between a connector and a server: a relay that can be cut, as when the server goes down and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A relay; it ends with this value.
pub struct Switch {
    /// `http://127.0.0.1:PORT`, in the place of the server's own.
    pub endpoint: String,
    down: watch::Sender<bool>,
    refused: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Switch {
    /// In front of the server at `endpoint`.
    pub async fn before(endpoint: &str) -> Self {
        let server = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let (down, is_down) = watch::channel(false);
        let refused = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&refused);
        let task = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.expect("a connection");
                if *is_down.borrow() {
                    counter.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let (server, mut is_down) = (server.clone(), is_down.clone());
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(&server).await.expect("the server is there");
                    tokio::select! {
                        // Either side may hang up.
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        // An error means that nobody needs the relay any more.
                        _ = is_down.wait_for(|down| *down) => {}
                    }
                });
            }
        });
        Self { endpoint, down, refused, task }
    }

    /// From now on connections are cut and refused, or let through again.
    pub fn set_down(&self, down: bool) {
        self.down.send_replace(down);
    }

    /// Connections that were refused.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
