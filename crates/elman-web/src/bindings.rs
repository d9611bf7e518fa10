//! [`Session`] for JavaScript: results are JSON texts, errors are thrown.

use elman_tagger::Error;
use serde_json::Value;
use wasm_bindgen::prelude::*;

/// See [`crate::Session`].
#[wasm_bindgen]
pub struct Session(crate::Session, Vec<(String, Vec<u8>)>);

fn text(result: Result<Value, Error>) -> Result<String, JsError> {
    Ok(result?.to_string())
}

#[wasm_bindgen]
impl Session {
    /// See [`crate::Session::new`].
    #[wasm_bindgen(constructor)]
    pub fn new() -> Result<Self, JsError> {
        Ok(Session(crate::Session::new()?, Vec::new()))
    }

    /// See [`crate::Session::begin`].
    pub fn begin(&mut self) -> Result<String, JsError> {
        text(self.0.begin())
    }

    /// See [`crate::Session::epoch`].
    pub fn epoch(&mut self) -> Result<String, JsError> {
        text(self.0.epoch())
    }

    /// Adds a file for [`Session::load`].
    pub fn file(&mut self, name: String, content: Vec<u8>) {
        self.1.push((name, content));
    }

    /// See [`crate::Session::load`]: of the files added since the last call.
    pub fn load(&mut self) -> Result<String, JsError> {
        let files = std::mem::take(&mut self.1);
        text(self.0.load(&files))
    }

    /// See [`crate::Session::tag`].
    pub fn tag(&mut self, words: &str) -> Result<String, JsError> {
        text(self.0.tag(words))
    }
}
