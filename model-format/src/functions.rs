//! How files hold elementwise functions: the code of the table in `sslm_basics::functions`, then the parameters.

use crate::codec::{Field, Reader};
use crate::error::{Error, ErrorKind, Result};
use sslm_basics::functions::{Binary, Unary};

impl Field for Unary {
    const MIN_SIZE: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        self.code().write(out);
        self.parameters().for_each(|parameter| parameter.write(out));
    }
    fn read(r: &mut Reader) -> Result<Self> {
        let place = r.place();
        let code = u8::read(r)?;
        Unary::from_code(code, || f32::read(r))?.ok_or_else(|| unknown(place, "a known activation", code))
    }
}

impl Field for Binary {
    const MIN_SIZE: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        self.code().write(out);
    }
    fn read(r: &mut Reader) -> Result<Self> {
        let place = r.place();
        let code = u8::read(r)?;
        Binary::from_code(code).ok_or_else(|| unknown(place, "a known operation on two values", code))
    }
}

fn unknown(place: String, expected: &'static str, code: u8) -> Error {
    Error::new(ErrorKind::Unsupported, place, expected, format!("code {code}"))
}
