//! What the guard reads that may hang or fail: each on a thread of its own, so that none can stop the others.

use anyhow::{Context, Result};
use keel_guard::DiskSpace;
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A source that said nothing for this long is reported.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Between two looks at whether the node stops.
const STOP_POLL: Duration = Duration::from_millis(100);

/// The sources that give no readings now, and why. Shared with whoever reports them.
#[derive(Clone, Default)]
pub struct Failing(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Failing {
    /// Name and reason of each.
    pub fn list(&self) -> Vec<(&'static str, String)> {
        lock(&self.0).iter().map(|(name, why)| (*name, why.clone())).collect()
    }

    fn note(&self, name: &'static str, why: Option<String>) {
        let mut failing = lock(&self.0);
        match why {
            Some(why) if !failing.contains_key(name) => {
                tracing::error!(monitor = name, why, "a monitor fails: what it watches is not watched");
                failing.insert(name, why);
            }
            Some(why) => drop(failing.insert(name, why)),
            None if failing.remove(name).is_some() => tracing::warn!(monitor = name, "the monitor is back"),
            None => {}
        }
    }
}

/// A reading that is made over and over.
pub struct Source<T> {
    name: &'static str,
    last: Arc<Mutex<Reading<T>>>,
    failing: Failing,
}

struct Reading<T> {
    value: Option<T>,
    at: Instant,
    failed: Option<String>,
}

impl<T: Copy + Send + 'static> Source<T> {
    /// Reads once every `every` until `stop`.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn start(
        name: &'static str,
        every: Duration,
        stop: Arc<AtomicBool>,
        failing: Failing,
        mut read: impl FnMut() -> Result<T> + Send + 'static,
    ) -> Result<Source<T>> {
        let last = Arc::new(Mutex::new(Reading { value: None, at: Instant::now(), failed: None }));
        let slot = last.clone();
        let work = move || {
            while !stop.load(Ordering::Acquire) {
                let reading = match catch_unwind(AssertUnwindSafe(&mut read)) {
                    Ok(Ok(value)) => Reading { value: Some(value), at: Instant::now(), failed: None },
                    Ok(Err(error)) => Reading { value: None, at: Instant::now(), failed: Some(format!("{error:#}")) },
                    Err(panic) => Reading { value: None, at: Instant::now(), failed: Some(said(&*panic)) },
                };
                *lock(&slot) = reading;
                let next = Instant::now() + every;
                while !stop.load(Ordering::Acquire) && Instant::now() < next {
                    std::thread::sleep(STOP_POLL.min(every));
                }
            }
        };
        std::thread::Builder::new().name(name.into()).spawn(work).with_context(|| format!("start the monitor {name}"))?;
        Ok(Source { name, last, failing })
    }

    /// What it last said; `None`, and reported, if it failed or hangs.
    pub fn read(&self) -> Option<T> {
        let last = lock(&self.last);
        let silent = last.at.elapsed();
        let failed = match &last.failed {
            Some(why) => Some(why.clone()),
            None if silent > SILENCE_MAX => Some(format!("no answer for {} s", silent.as_secs())),
            None => None,
        };
        let value = last.value.filter(|_| failed.is_none());
        drop(last);
        self.failing.note(self.name, failed);
        value
    }
}

/// Values that no panic leaves half-changed: a poisoned lock is taken over.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("without a word"))
}

/// Of the file system that holds a folder.
///
/// # Errors
/// The folder is gone, or its file system does not say.
pub fn disk_space(folder: &Path) -> Result<DiskSpace> {
    let found = rustix::fs::statvfs(folder).with_context(|| format!("free space of {}", folder.display()))?;
    Ok(DiskSpace {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        total: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

/// Free space, once a second.
pub fn disk(folder: PathBuf, stop: Arc<AtomicBool>, failing: Failing) -> Result<Source<DiskSpace>> {
    Source::start("disk", Duration::from_secs(1), stop, failing, move || disk_space(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn until(mut so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !so() {
            assert!(start.elapsed() < Duration::from_secs(20), "waited in vain");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_source_that_fails_panics_or_hangs_is_named_and_the_others_go_on() {
        let (stop, failing) = (Arc::new(AtomicBool::new(false)), Failing::default());
        let start = |name, read: Box<dyn FnMut() -> Result<u32> + Send>| {
            Source::start(name, Duration::from_millis(5), stop.clone(), failing.clone(), read).unwrap()
        };
        let (rounds, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (round, hangs) = (rounds.clone(), gate.clone());
        let works = start("works", Box::new(|| Ok(7)));
        let ails = start(
            "ails",
            Box::new(move || match round.fetch_add(1, Ordering::Relaxed) {
                0..20 => anyhow::bail!("no such file"),
                20..40 => panic!("a bug"),
                _ => Ok(8),
            }),
        );
        let hanging = start(
            "hangs",
            Box::new(move || {
                while !hangs.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(9)
            }),
        );
        let why = |name: &str| failing.list().into_iter().find(|(found, _)| *found == name).map(|(_, why)| why);
        let reads = |source: &Source<u32>, name: &str, text: &str| {
            until(|| source.read().is_none() && why(name).is_some_and(|why| why.contains(text)));
        };
        reads(&ails, "ails", "no such file");
        reads(&ails, "ails", "it panicked: a bug");
        until(|| ails.read() == Some(8) && why("ails").is_none());
        reads(&hanging, "hangs", "no answer for");
        until(|| works.read() == Some(7));
        assert_eq!(failing.list().len(), 1);
        gate.store(true, Ordering::Relaxed);
        until(|| hanging.read() == Some(9) && failing.list().is_empty());
        stop.store(true, Ordering::Relaxed);
    }

    #[test]
    fn free_space_is_that_of_the_folders_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let space = disk_space(folder.path()).unwrap();
        assert!(space.free > 0 && space.total >= space.free, "{space:?}");
        assert!(disk_space(&folder.path().join("gone")).is_err());
    }
}
