//! Threads that run one task after the other, each on its own partitions.
//!
//! Training runs thousands of tasks per second, so a thread spins while it waits for the next one. All
//! threads end with [`with_pool`].

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use crate::parallel::lock;

/// Checks of a flag before a thread yields the processor.
const SPINS: usize = 2_000;

/// The threads, from the coordinator's side.
pub(super) struct WorkerPool<'a, R, O, W> {
    partitions: &'a [Mutex<R>],
    work: W,
    workers: usize,
    /// The current task; `None` ends the workers.
    task: RwLock<Option<O>>,
    /// Number of tasks published.
    published: AtomicUsize,
    /// Workers that have finished the current task.
    done: AtomicUsize,
    failed: AtomicBool,
}

/// Call `coordinate` with a pool of `threads` threads, itself included, that do `work` on partitions.
pub(super) fn with_pool<R: Send, O: Send + Sync, W: Fn(&mut R, &O) + Sync, T>(
    partitions: &[Mutex<R>],
    threads: usize,
    work: W,
    coordinate: impl FnOnce(&WorkerPool<'_, R, O, W>) -> T,
) -> T {
    let pool = WorkerPool {
        partitions,
        work,
        workers: threads.min(partitions.len()).max(1) - 1,
        task: RwLock::new(None),
        published: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        for worker in 1..=pool.workers {
            let pool = &pool;
            scope.spawn(move || pool.serve(worker));
        }
        let _shutdown = Shutdown(&pool);
        coordinate(&pool)
    })
}

impl<R: Send, O: Send + Sync, W: Fn(&mut R, &O) + Sync> WorkerPool<'_, R, O, W> {
    /// Run a task on every partition.
    ///
    /// # Panics
    /// When a worker did.
    pub fn run(&self, task: O) {
        self.publish(Some(task));
        self.run_share(0);
        wait(|| {
            self.failed.load(Ordering::Relaxed) || self.done.load(Ordering::Acquire) == self.workers
        });
        assert!(!self.failed.load(Ordering::Relaxed), "a thread of the training failed");
    }

    fn publish(&self, task: Option<O>) {
        *self.task.write().unwrap_or_else(PoisonError::into_inner) = task;
        self.done.store(0, Ordering::Relaxed);
        self.published.fetch_add(1, Ordering::Release);
    }

    /// Run the current task on every partition of one thread. Returns whether there was a task.
    fn run_share(&self, thread: usize) -> bool {
        let task = self.task.read().unwrap_or_else(PoisonError::into_inner);
        let Some(task) = task.as_ref() else { return false };
        for partition in self.partitions.iter().skip(thread).step_by(self.workers + 1) {
            (self.work)(&mut lock(partition), task);
        }
        true
    }

    fn serve(&self, worker: usize) {
        let failing = Failure(&self.failed);
        let mut seen = 0;
        loop {
            wait(|| self.published.load(Ordering::Acquire) != seen);
            seen += 1;
            if !self.run_share(worker) {
                break;
            }
            self.done.fetch_add(1, Ordering::Release);
        }
        std::mem::forget(failing);
    }
}

/// Ends the workers, also when the coordinator fails.
struct Shutdown<'a, 'b, R: Send, O: Send + Sync, W: Fn(&mut R, &O) + Sync>(
    &'a WorkerPool<'b, R, O, W>,
);

impl<R: Send, O: Send + Sync, W: Fn(&mut R, &O) + Sync> Drop for Shutdown<'_, '_, R, O, W> {
    fn drop(&mut self) {
        self.0.publish(None);
    }
}

/// Reports a worker that ended early to the coordinator.
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;

    use super::with_pool;
    use crate::parallel::lock;

    #[test]
    fn every_task_runs_on_every_partition() {
        for (partitions, threads) in [(1, 1), (1, 4), (5, 1), (5, 2), (5, 3), (5, 9), (0, 2)] {
            let partitions: Vec<Mutex<Vec<u32>>> =
                (0..partitions).map(|_| Mutex::default()).collect();
            let work = |partition: &mut Vec<u32>, task: &u32| partition.push(*task);
            with_pool(&partitions, threads, work, |pool| {
                for task in 0..100 {
                    pool.run(task);
                    // All is done when the call returns.
                    assert!(partitions.iter().all(|some| lock(some).last() == Some(&task)));
                }
            });
            let all: Vec<u32> = (0..100).collect();
            assert!(partitions.iter().all(|some| *lock(some) == all));
        }
    }

    /// Neither the coordinator nor the other workers wait for a thread that has ended.
    #[test]
    fn a_panic_of_a_worker_is_passed_on() {
        for (failing, threads) in [(0, 3), (1, 3), (2, 3), (1, 1)] {
            let partitions = [0, 1, 2].map(Mutex::new);
            let work = |partition: &mut usize, (): &()| assert_ne!(*partition, failing);
            let ended = catch_unwind(AssertUnwindSafe(|| {
                with_pool(&partitions, threads, work, |pool| pool.run(()));
            }));
            assert!(ended.is_err());
        }
    }
}
