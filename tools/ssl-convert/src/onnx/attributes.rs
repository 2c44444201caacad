//! Attributes of a node, by name and type.

use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto};
use anyhow::{Context, Result, bail};

/// Reads a node's attributes. Absent ones yield the default that the ONNX specification gives.
#[derive(Clone, Copy)]
pub struct Attributes<'a>(pub &'a NodeProto);

/// Values of `AttributeProto.type`.
mod kind {
    pub(super) const FLOAT: i32 = 1;
    pub(super) const INT: i32 = 2;
    pub(super) const STRING: i32 = 3;
    pub(super) const GRAPH: i32 = 5;
    pub(super) const FLOATS: i32 = 6;
    pub(super) const INTS: i32 = 7;
    pub(super) const STRINGS: i32 = 8;
}

impl<'a> Attributes<'a> {
    /// The attribute as it is stored.
    pub fn get(self, name: &str) -> Option<&'a AttributeProto> {
        self.0.attribute.iter().find(|a| a.name == name)
    }

    fn typed(self, name: &str, kind: i32) -> Result<Option<&'a AttributeProto>> {
        match self.get(name) {
            Some(a) if a.r#type != kind && a.r#type != 0 => {
                bail!("attribute {name}: expected type {kind} of AttributeProto, found {}", a.r#type)
            }
            found => Ok(found),
        }
    }

    /// An integer.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn int(self, name: &str, default: i64) -> Result<i64> {
        Ok(self.typed(name, kind::INT)?.map_or(default, |a| a.i))
    }

    /// A floating-point number.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn float(self, name: &str, default: f32) -> Result<f32> {
        Ok(self.typed(name, kind::FLOAT)?.map_or(default, |a| a.f))
    }

    /// A list of integers; empty if absent.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn ints(self, name: &str) -> Result<&'a [i64]> {
        Ok(self.typed(name, kind::INTS)?.map_or(&[], |a| &a.ints))
    }

    /// A list of floating-point numbers; empty if absent.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn floats(self, name: &str) -> Result<&'a [f32]> {
        Ok(self.typed(name, kind::FLOATS)?.map_or(&[], |a| &a.floats))
    }

    /// A graph, if it is there.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn graph(self, name: &str) -> Result<Option<&'a GraphProto>> {
        Ok(self.typed(name, kind::GRAPH)?.and_then(|a| a.g.as_ref()))
    }

    /// A text.
    ///
    /// # Errors
    /// If it is of another type or not UTF-8.
    pub fn text(self, name: &str, default: &'a str) -> Result<&'a str> {
        match self.typed(name, kind::STRING)? {
            Some(a) => utf8(name, &a.s),
            None => Ok(default),
        }
    }

    /// A list of texts; empty if absent.
    ///
    /// # Errors
    /// If it is of another type or not UTF-8.
    pub fn texts(self, name: &str) -> Result<Vec<&'a str>> {
        self.typed(name, kind::STRINGS)?.map_or(&[][..], |a| &a.strings).iter().map(|text| utf8(name, text)).collect()
    }
}

fn utf8<'a>(name: &str, text: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(text).with_context(|| format!("attribute {name}: expected UTF-8"))
}
