//! Threads that carry out one order after the other, each on regions of its own.
//!
//! Training gives some thousand orders a second, so a thread waits for the next one awake. All threads
//! end with [`with_crew`].

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

/// Looks at a flag before a thread lets others go first.
const SPINS: usize = 2_000;

/// The threads, as their leader sees them.
pub(super) struct Crew<'a, R, O, W> {
    regions: &'a [Mutex<R>],
    work: W,
    helpers: usize,
    /// What to do; `None` ends the work.
    order: RwLock<Option<O>>,
    /// Number of orders given.
    given: AtomicUsize,
    /// Helpers that have carried out the last one.
    done: AtomicUsize,
    failed: AtomicBool,
}

/// Call `lead` with a crew of `threads` threads, itself included, that do `work` on regions.
pub(super) fn with_crew<R: Send, O: Send + Sync, W: Fn(&mut R, &O) + Sync, T>(
    regions: &[Mutex<R>],
    threads: usize,
    work: W,
    lead: impl FnOnce(&Crew<'_, R, O, W>) -> T,
) -> T {
    let crew = Crew {
        regions,
        work,
        helpers: threads.min(regions.len()).saturating_sub(1),
        order: RwLock::new(None),
        given: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        for helper in 1..=crew.helpers {
            let crew = &crew;
            scope.spawn(move || crew.help(helper));
        }
        let _dismissed = Dismissal(&crew);
        lead(&crew)
    })
}

impl<R: Send, O: Send + Sync, W: Fn(&mut R, &O) + Sync> Crew<'_, R, O, W> {
    /// Have an order carried out on every region.
    ///
    /// # Panics
    /// When a helper did.
    pub fn all(&self, order: O) {
        self.give(Some(order));
        self.carry_out(0);
        wait(|| {
            self.failed.load(Ordering::Relaxed) || self.done.load(Ordering::Acquire) == self.helpers
        });
        assert!(!self.failed.load(Ordering::Relaxed), "a thread of the training failed");
    }

    fn give(&self, order: Option<O>) {
        *self.order.write().unwrap_or_else(PoisonError::into_inner) = order;
        self.done.store(0, Ordering::Relaxed);
        self.given.fetch_add(1, Ordering::Release);
    }

    /// Do what is ordered on every region of one member; whether there was an order.
    fn carry_out(&self, member: usize) -> bool {
        let order = self.order.read().unwrap_or_else(PoisonError::into_inner);
        let Some(order) = order.as_ref() else { return false };
        for region in self.regions.iter().skip(member).step_by(self.helpers + 1) {
            (self.work)(&mut region.lock().unwrap_or_else(PoisonError::into_inner), order);
        }
        true
    }

    fn help(&self, helper: usize) {
        let failing = Failure(&self.failed);
        let mut seen = 0;
        loop {
            wait(|| self.given.load(Ordering::Acquire) != seen);
            seen += 1;
            if !self.carry_out(helper) {
                break;
            }
            self.done.fetch_add(1, Ordering::Release);
        }
        std::mem::forget(failing);
    }
}

/// Ends the helpers, also when their leader fails.
struct Dismissal<'a, 'b, R: Send, O: Send + Sync, W: Fn(&mut R, &O) + Sync>(&'a Crew<'b, R, O, W>);

impl<R: Send, O: Send + Sync, W: Fn(&mut R, &O) + Sync> Drop for Dismissal<'_, '_, R, O, W> {
    fn drop(&mut self) {
        self.0.give(None);
    }
}

/// Tells the leader of a helper that did not come to its end.
struct Failure<'a>(&'a AtomicBool);

impl Drop for Failure<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn wait(until: impl Fn() -> bool) {
    loop {
        for _ in 0..SPINS {
            if until() {
                return;
            }
            std::hint::spin_loop();
        }
        std::thread::yield_now();
    }
}
