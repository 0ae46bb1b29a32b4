//! Positions in a tokenizer file, for messages.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::{Error, Result, TokenId};

/// A JSON pointer in a file, for messages.
#[derive(Clone)]
pub(super) struct JsonPointer {
    pub path: PathBuf,
    pub pointer: String,
}

impl JsonPointer {
    pub fn at(&self, key: impl std::fmt::Display) -> Self {
        let key = key.to_string().replace('~', "~0").replace('/', "~1");
        Self { path: self.path.clone(), pointer: format!("{}/{key}", self.pointer) }
    }

    pub fn fail(&self, message: impl Into<String>) -> Error {
        Error::TokenizerFile {
            path: self.path.clone(),
            pointer: self.pointer.clone(),
            message: message.into(),
        }
    }

    /// The error of a step of a type that is not read.
    pub fn unsupported(&self, found: &Value, known: &str, remedy: &str) -> Error {
        let found = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        self.fail(format!("{found} is not supported (expected {known}). {remedy}"))
    }

    pub fn object<'v>(&self, value: &'v Value) -> Result<&'v Map<String, Value>> {
        value.as_object().ok_or_else(|| self.fail("an object {...} is needed here"))
    }

    pub fn array<'v>(&self, value: Option<&'v Value>) -> Result<&'v [Value]> {
        let array = value.and_then(Value::as_array);
        array.map(Vec::as_slice).ok_or_else(|| self.fail("a list [...] is needed here"))
    }

    pub fn string<'v>(&self, value: Option<&'v Value>) -> Result<&'v str> {
        value.and_then(Value::as_str).ok_or_else(|| self.fail("a string is needed here"))
    }

    pub fn id(&self, value: Option<&Value>) -> Result<TokenId> {
        value
            .and_then(Value::as_u64)
            .and_then(|id| TokenId::try_from(id).ok())
            .ok_or_else(|| self.fail("an id from 0 to 65535 is needed here"))
    }

    pub fn only(&self, object: &Map<String, Value>, known: &[&str]) -> Result<()> {
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(self.at(key).fail("this field is not supported")),
            None => Ok(()),
        }
    }
}
