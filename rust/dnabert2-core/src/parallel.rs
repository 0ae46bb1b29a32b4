//! Work on threads that end with the call, so that a process may fork afterwards.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Number of threads for a `threads` argument: 0 is every core that this process may use.
#[must_use]
pub fn count(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        some => some,
    }
}

/// Lock a mutex, also after a panic of its owner: that panic is raised where the thread is joined.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Return the results of `work` on every item, in the items' order. The calling thread works too.
///
/// `scratch` creates the state that one thread keeps from item to item.
///
/// ```
/// use dnabert2_core::parallel::parallel_map;
/// assert_eq!(parallel_map(2, &[1, 2, 3], || (), |(), n| n * n), [1, 4, 9]);
/// ```
///
/// # Panics
/// When `work` does.
pub fn parallel_map<I: Sync, S, T: Send>(
    threads: usize,
    items: &[I],
    scratch: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &I) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let some = || {
        let mut scratch = scratch();
        let mut done = Vec::new();
        while let Some((index, item)) = take(&next, items) {
            done.push((index, work(&mut scratch, item)));
        }
        done
    };
    let helpers = count(threads).min(items.len()).max(1) - 1;
    let mut done = std::thread::scope(|scope| {
        let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(some)).collect();
        let mut done = some();
        for helper in helpers {
            match helper.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

fn take<'a, I>(next: &AtomicUsize, items: &'a [I]) -> Option<(usize, &'a I)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    items.get(index).map(|item| (index, item))
}
