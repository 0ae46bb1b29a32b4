//! The trainer of the core as a Python class.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use dnabert2_core::Error;
use dnabert2_core::parallel::lock;
use dnabert2_core::tokenizer_file::from_trained;
use dnabert2_core::train::{self, InputConfig, InputStats, Options, Pair};
use pyo3::prelude::*;

use crate::error::{Result, call_report};
use crate::fasta::{Input, REPORT_BP, warn};
use crate::tokenizer::Text;

/// Counts of one input.
#[pyclass(frozen, get_all, module = "dnabert2_fast._native")]
pub struct InputCounts {
    sequences: u64,
    used_bp: u64,
    left_out_bp: u64,
    other_letters: BTreeMap<char, u64>,
}

/// Collects sequences, then trains one vocabulary on them.
#[pyclass(frozen, module = "dnabert2_fast._native")]
pub struct BpeTrainer(Mutex<Option<train::BpeTrainer>>);

#[pymethods]
impl BpeTrainer {
    #[new]
    #[pyo3(signature = (*, window_bp, fold_case, both_strands, sample, seed, threads, spill_to))]
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

    /// Add sequences.
    fn add(&self, py: Python<'_>, sequences: Vec<Text>) -> Result<InputCounts> {
        let stats = py.detach(|| {
            let mut stats = InputStats::default();
            self.with(|trainer| {
                sequences.iter().try_for_each(|text| trainer.add(text.as_ref(), 1, &mut stats))
            })?;
            Ok::<_, Error>(stats)
        })?;
        Ok(counted(sequences.len() as u64, &stats))
    }

    /// Add the records of a FASTA or FASTQ file; `report` is called with the letters processed since.
    #[pyo3(signature = (input, *, rna, report))]
    fn add_file(
        &self,
        py: Python<'_>,
        input: &Input,
        rna: bool,
        report: Py<PyAny>,
    ) -> Result<InputCounts> {
        let mut reader = py.detach(|| input.reader(rna))?;
        warn(py, reader.notices())?;
        let mut raised = None;
        let outcome = py.detach(|| {
            let (mut records, mut letters, mut stats) = (0, 0, InputStats::default());
            let mut sequence = Vec::new();
            while reader.read_record(&mut sequence)?.is_some() {
                self.with(|trainer| trainer.add(&sequence, 1, &mut stats))?;
                records += 1;
                letters += sequence.len();
                if letters >= REPORT_BP {
                    call_report(&report, std::mem::take(&mut letters), &mut raised)?;
                }
            }
            call_report(&report, letters, &mut raised)?;
            Ok::<_, Error>((records, stats))
        });
        if let Some(error) = raised {
            return Err(error.into());
        }
        let (records, stats) = outcome?;
        warn(py, reader.notices())?;
        Ok(counted(records, &stats))
    }

    /// SHA-256 of all windows so far.
    fn fingerprint(&self) -> Result<String> {
        let mut fingerprint = String::new();
        self.with(|trainer| {
            fingerprint = trainer.fingerprint();
            Ok(())
        })?;
        Ok(fingerprint)
    }

    /// Train, after the known merges; returns the text of the tokenizer.json. `report` is
    /// called with the two parts of every merge.
    #[pyo3(signature = (
        *,
        vocab_size,
        min_frequency,
        max_token_bp,
        memory_limit,
        threads,
        special_tokens,
        known,
        report,
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of one call")]
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
        let special = u16::try_from(special_tokens.len()).map_err(|_| {
            let message = format!("must be at most 65,535 (got {})", special_tokens.len());
            Error::InvalidArgument { name: "special_tokens", message }
        })?;
        let options =
            Options { vocab_size, special, min_frequency, max_token_bp, memory_limit, threads };
        let trainer = lock(&self.0).take();
        let trainer = trainer.ok_or_else(used)?;
        let mut raised = None;
        let outcome = py.detach(|| {
            trainer.train(&options, &known, |merges| match merges.last() {
                Some(&pair) => call_report(&report, pair, &mut raised),
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
        work(lock(&self.0).as_mut().ok_or_else(used)?)
    }
}

fn used() -> Error {
    Error::InvalidArgument { name: "trainer", message: "was already used; create a new one".into() }
}

fn counted(sequences: u64, stats: &InputStats) -> InputCounts {
    let others = stats.others.iter().map(|(&letter, &count)| (char::from(letter), count));
    InputCounts {
        sequences,
        used_bp: stats.used,
        left_out_bp: stats.left_out,
        other_letters: others.collect(),
    }
}
