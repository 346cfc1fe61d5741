//! Making, changing and removing virtual MAC interfaces, on a thread with rtnetlink and a runtime of its own: a link
//! that goes down takes the kernel tens of milliseconds, for which neither the loop nor the addresses wait.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use daemon::queue::{Receiver, Sender, queue};
use futures_util::TryStreamExt;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, MacVlanMode};
use rtnetlink::{Handle, LinkMacVlan, LinkUnspec};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::MARK;
use super::table::{Answer, Operation, Request};
use super::traits::{Settings, Traits};

/// Stack of the thread, bytes.
const STACK: usize = 512 * 1024;
/// Answers that may wait for the loop.
const ANSWERS: usize = 4096;
/// When the loop is that far behind, the thread waits for it.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// The loop's handle.
#[derive(Debug)]
pub struct Worker {
    requests: UnboundedSender<Vec<Request>>,
    pub answers: Receiver<Answer>,
}

impl Worker {
    /// Start the thread.
    pub fn start() -> io::Result<Self> {
        let (requests, batches) = unbounded_channel();
        let (sender, answers) = queue(ANSWERS)?;
        let runtime = runtime()?;
        thread::Builder::new()
            .name("links".into())
            .stack_size(STACK)
            .spawn(move || runtime.block_on(run(batches, &sender)))?;
        Ok(Self { requests, answers })
    }

    /// Have a batch done; every request is answered. Never blocks.
    ///
    /// # Errors
    /// If the thread has ended.
    pub fn request(&self, batch: Vec<Request>) -> io::Result<()> {
        self.requests.send(batch).map_err(|_| io::Error::other("the thread that makes links has ended"))
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()
}

/// The connection is opened for each batch: they are rare, and one that is lost needs no care.
async fn run(mut batches: UnboundedReceiver<Vec<Request>>, answers: &Sender<Answer>) {
    while let Some(batch) = batches.recv().await {
        match connect() {
            Ok(handle) => {
                for request in batch {
                    let result = perform(&handle, &request).await;
                    deliver(answers, Answer { request, result }).await;
                }
            }
            Err(error) => {
                for request in batch {
                    let result = Err(io::Error::new(error.kind(), format!("cannot open rtnetlink: {error}")));
                    deliver(answers, Answer { request, result }).await;
                }
            }
        }
    }
}

fn connect() -> io::Result<Handle> {
    let (connection, handle, _messages) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn deliver(answers: &Sender<Answer>, answer: Answer) {
    let mut waiting = answer;
    while let Err(back) = answers.send(waiting) {
        waiting = back;
        tokio::time::sleep(FULL_PAUSE).await;
    }
}

async fn perform(handle: &Handle, request: &Request) -> io::Result<()> {
    let change =
        |builder: rtnetlink::LinkMessageBuilder<LinkUnspec>| handle.link().change(builder.build()).execute();
    let index = request.index;
    let done = match request.operation {
        Operation::Create { parent, controller, mac } => {
            let mut link = LinkMacVlan::new(&request.name, parent, MacVlanMode::Bridge)
                .address(mac.to_vec())
                .append_extra_attribute(LinkAttribute::Group(MARK));
            if let Some(controller) = controller {
                link = link.controller(controller);
            }
            return result(handle.link().add(link.build()).execute().await);
        }
        Operation::Configure { settings, ipv6 } => change(configured(index, settings, ipv6)).await,
        Operation::Up => change(LinkUnspec::new_with_index(index).up()).await,
        Operation::Down => change(LinkUnspec::new_with_index(index).down()).await,
        Operation::Delete => handle.link().del(index).execute().await,
    };
    // A link that goes is down first: that it has gone meanwhile, the next plan sees.
    gone_is_well(result(done))
}

fn configured(index: u32, settings: Settings, ipv6: bool) -> rtnetlink::LinkMessageBuilder<LinkUnspec> {
    let alias = LinkAttribute::IfAlias("virtual MAC address of a virtual router, made by vrrpd".into());
    LinkUnspec::new_with_index(index)
        .append_extra_attribute(alias)
        .append_extra_attribute(settings.attribute(ipv6))
}

fn result(result: Result<(), rtnetlink::Error>) -> io::Result<()> {
    let Err(error) = result else { return Ok(()) };
    let rtnetlink::Error::NetlinkError(message) = error else { return Err(io::Error::other(error)) };
    Err(message.to_io())
}

fn gone_is_well(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(()),
        other => other,
    }
}

/// Remove every link with our mark but those that are to stay: what a vrrpd that did not end well left behind. Blocks
/// until it is done. Returns their names.
///
/// # Errors
/// If the kernel refuses to list, or to remove one; the others are removed nevertheless.
pub fn release_all(stays: impl Fn(&str) -> bool) -> io::Result<Vec<Arc<str>>> {
    runtime()?.block_on(async {
        let handle = connect()?;
        let links: Vec<LinkMessage> =
            handle.link().get().execute().try_collect().await.map_err(io::Error::other)?;
        let (mut removed, mut first_error) = (Vec::new(), None);
        for link in links.iter().filter(|link| Traits::read(link).ours) {
            let name = name(link);
            if name.as_deref().is_some_and(&stays) {
                continue;
            }
            match gone_is_well(result(handle.link().del(link.header.index).execute().await)) {
                Ok(()) => removed.extend(name),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(removed), Err)
    })
}

fn name(link: &LinkMessage) -> Option<Arc<str>> {
    link.attributes.iter().find_map(|attribute| {
        let LinkAttribute::IfName(name) = attribute else { return None };
        Some(name.as_str().into())
    })
}
