//! Work shared out among threads that live as long as the call, so that a process may fork after it.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads meant by a `threads` argument: 0 is every core that this process may use.
#[must_use]
pub fn count(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        some => some,
    }
}

/// Do `work` on every item, the calling thread taking its part; results are in the items' order.
///
/// `room` makes what one thread keeps from item to item.
///
/// ```
/// use dnabert2_core::parallel::share_out;
/// assert_eq!(share_out(2, &[1, 2, 3], || (), |(), n| n * n), [1, 4, 9]);
/// ```
///
/// # Panics
/// When `work` does.
pub fn share_out<I: Sync, S, T: Send>(
    threads: usize,
    items: &[I],
    room: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &I) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let some = || {
        let mut room = room();
        let mut done = Vec::new();
        while let Some((index, item)) = take(&next, items) {
            done.push((index, work(&mut room, item)));
        }
        done
    };
    let helpers = count(threads).min(items.len()).saturating_sub(1);
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
