//! Warnings about a file that can be read all the same.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::parallel::lock;

/// Warnings about one file, in order; clones are the same list.
#[derive(Debug, Clone)]
pub struct Notices {
    path: Arc<Path>,
    messages: Arc<Mutex<Vec<String>>>,
}

impl Notices {
    /// None yet.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self { path: PathBuf::from(path).into(), messages: Arc::default() }
    }

    /// Add one; the file's name comes before it.
    pub fn add(&self, message: &str) {
        lock(&self.messages).push(format!("{}: {message}", self.path.display()));
    }

    /// Remove and return those so far.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.messages))
    }
}
