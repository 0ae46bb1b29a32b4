//! The trainer, as Python sees it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use dnabert2_core::Error;
use dnabert2_core::tokenizer_file::from_trained;
use dnabert2_core::train::{self, InputConfig, InputStats, Options, Pair};
use pyo3::prelude::*;

use crate::error::{Result, tell};
use crate::fasta::{REPORT_BP, read};
use crate::tokenizer::Text;

/// Sequences, bases used and left out, and how often every other letter occurs.
type Counted = (u64, u64, u64, BTreeMap<char, u64>);

/// Collects sequences, then trains a vocabulary on them, once.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct BpeTrainer(Mutex<Option<train::BpeTrainer>>);

#[pymethods]
impl BpeTrainer {
    #[new]
    fn new(
        window_bp: Option<usize>,
        fold_case: bool,
        both_strands: bool,
        sample: f64,
        seed: u64,
        threads: usize,
        spill_to: Option<PathBuf>,
    ) -> Result<Self> {
        let config = InputConfig { window_bp, fold_case, both_strands, sample, seed, threads };
        let mut trainer = train::BpeTrainer::new(config);
        if let Some(folder) = spill_to {
            trainer.spill_to(&folder)?;
        }
        Ok(Self(Mutex::new(Some(trainer))))
    }

    /// Add one sequence.
    fn add(&self, py: Python<'_>, sequence: Text) -> Result<Counted> {
        let stats = py.detach(|| {
            let mut stats = InputStats::default();
            self.with(|trainer| trainer.add(sequence.as_ref(), 1, &mut stats))?;
            Ok::<_, Error>(stats)
        })?;
        Ok(counted(1, &stats))
    }

    /// Add the records of a FASTA or FASTQ file; `report` is called with the letters worked through
    /// since.
    fn add_file(&self, py: Python<'_>, path: PathBuf, report: Py<PyAny>) -> Result<Counted> {
        let mut raised = None;
        let outcome = py.detach(|| {
            let (mut records, mut letters, mut stats) = (0, 0, InputStats::default());
            for record in read(&path)? {
                let sequence = record?.sequence;
                self.with(|trainer| trainer.add(&sequence, 1, &mut stats))?;
                records += 1;
                letters += sequence.len();
                if letters >= REPORT_BP {
                    tell(&report, std::mem::take(&mut letters), &mut raised)?;
                }
            }
            tell(&report, letters, &mut raised)?;
            Ok::<_, Error>((records, stats))
        });
        if let Some(error) = raised {
            return Err(error.into());
        }
        let (records, stats) = outcome?;
        Ok(counted(records, &stats))
    }

    /// SHA-256 of all that was taken in.
    fn fingerprint(&self) -> Result<String> {
        let mut fingerprint = String::new();
        self.with(|trainer| {
            fingerprint = trainer.fingerprint();
            Ok(())
        })?;
        Ok(fingerprint)
    }

    /// Train, after the merges that are known; returns the text of the tokenizer.json. `report` is
    /// called with the two parts of every merge.
    #[expect(clippy::too_many_arguments, reason = "the options of one call, flat for Python")]
    fn train(
        &self,
        py: Python<'_>,
        vocab_size: usize,
        min_frequency: u64,
        max_token_bp: Option<usize>,
        memory_limit: Option<u64>,
        threads: usize,
        special_tokens: Vec<String>,
        known: Vec<Pair>,
        report: Py<PyAny>,
    ) -> Result<String> {
        let special = u16::try_from(special_tokens.len()).unwrap_or(u16::MAX);
        let options =
            Options { vocab_size, special, min_frequency, max_token_bp, memory_limit, threads };
        let trainer = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let trainer = trainer.ok_or_else(used)?;
        let mut raised = None;
        let outcome = py.detach(|| {
            trainer.train(&options, &known, |merges| match merges.last() {
                Some(&pair) => tell(&report, pair, &mut raised),
                None => Ok(()),
            })
        });
        if let Some(error) = raised {
            return Err(error.into());
        }
        let names: Vec<&str> = special_tokens.iter().map(String::as_str).collect();
        Ok(from_trained(&outcome?, &names))
    }
}

impl BpeTrainer {
    fn with(
        &self,
        work: impl FnOnce(&mut train::BpeTrainer) -> dnabert2_core::Result<()>,
    ) -> dnabert2_core::Result<()> {
        work(self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut().ok_or_else(used)?)
    }
}

fn used() -> Error {
    Error::InvalidArgument { name: "trainer", message: "it has trained already".into() }
}

fn counted(sequences: u64, stats: &InputStats) -> Counted {
    let others = stats.others.iter().map(|(&letter, &count)| (char::from(letter), count));
    (sequences, stats.used, stats.left_out, others.collect())
}
