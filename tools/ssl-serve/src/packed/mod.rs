//! Bodies that clients pack or want packed: requests are unpacked as they come, within the bounds of all bodies, and answers are packed as
//! they are sent.

mod answer;
mod request;

pub(crate) use answer::packed;
pub(crate) use request::{Step, Unpacking};

use crate::failure::{Failure, Kind};
use axum::http::{HeaderMap, header};

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    /// What HTTP and gRPC call deflate: with the header and the checksum of zlib.
    Deflate,
}

impl Encoding {
    fn of_name(name: &str) -> Option<Self> {
        [Encoding::Gzip, Encoding::Deflate].into_iter().find(|encoding| name.eq_ignore_ascii_case(encoding.name()))
    }

    fn name(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
        }
    }

    /// How the body of a request is packed.
    ///
    /// # Errors
    /// If it is packed in a way that nobody here knows.
    pub(crate) fn of_request(headers: &HeaderMap) -> Result<Option<Self>, Failure> {
        let mut named = headers.get_all(header::CONTENT_ENCODING).iter();
        let found = match (named.next(), named.next()) {
            (None, _) => return Ok(None),
            (Some(only), None) => String::from_utf8_lossy(only.as_bytes()).into_owned(),
            _ => "several".to_owned(),
        };
        if found.trim().eq_ignore_ascii_case("identity") {
            return Ok(None);
        }
        let unknown =
            || Failure::new(Kind::Unsupported, format!("content-encoding: expected gzip, deflate or none, found '{found}'"));
        Encoding::of_name(found.trim()).ok_or_else(unknown).map(Some)
    }

    /// How messages of a request over gRPC are packed, as far as they say that they are. The rest is the business of those who read them.
    pub(crate) fn of_messages(headers: &HeaderMap) -> Option<Self> {
        Encoding::of_name(headers.get("grpc-encoding")?.to_str().ok()?)
    }

    /// How the client would like its answer packed, of what it accepts.
    pub(crate) fn of_answer(headers: &HeaderMap) -> Option<Self> {
        let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let weighed = lists.flat_map(|list| list.split(',')).filter_map(|one| {
            let (name, weight) = one.split_once(';').unwrap_or((one, "q=1"));
            let weight: f32 = weight.trim().strip_prefix("q=")?.trim().parse().ok()?;
            Some((Encoding::of_name(name.trim())?, weight))
        });
        let mut best = None;
        for (encoding, weight) in weighed.filter(|(_, weight)| *weight > 0.0) {
            // The first of those that it likes best.
            if best.is_none_or(|(_, most)| weight > most) {
                best = Some((encoding, weight));
            }
        }
        best.map(|(encoding, _)| encoding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn requests_name_one_encoding_or_none() {
        for (values, expected) in [
            (&[][..], Ok(None)),
            (&["identity"], Ok(None)),
            (&["gzip"], Ok(Some(Encoding::Gzip))),
            (&["Deflate"], Ok(Some(Encoding::Deflate))),
            (&["br"], Err("found 'br'")),
            (&["gzip, gzip"], Err("found 'gzip, gzip'")),
            (&["gzip", "gzip"], Err("found 'several'")),
        ] {
            match (Encoding::of_request(&headers(header::CONTENT_ENCODING, values)), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{values:?}"),
                (Err(failure), Err(expected)) => {
                    assert!(failure.kind == Kind::Unsupported && format!("{failure:?}").contains(expected), "{failure:?}");
                }
                (found, _) => panic!("{values:?}: expected {expected:?}, found {found:?}"),
            }
        }
    }

    #[test]
    fn answers_are_packed_as_clients_like_best() {
        for (values, expected) in [
            (&[][..], None),
            (&["identity"], None),
            (&["br, zstd"], None),
            (&["gzip"], Some(Encoding::Gzip)),
            (&["gzip, deflate, br"], Some(Encoding::Gzip)),
            (&["deflate", "gzip"], Some(Encoding::Deflate)),
            (&["gzip;q=0.5, deflate; q=0.8"], Some(Encoding::Deflate)),
            (&["gzip;q=0"], None),
            (&["gzip;q=much"], None),
        ] {
            assert_eq!(Encoding::of_answer(&headers(header::ACCEPT_ENCODING, values)), expected, "{values:?}");
        }
    }
}
