//! Unpacks what comes of a body, a piece at a time: a thousandth of what it says may be what it takes, so each piece is told of before the next
//! one is made. Over gRPC each message is packed by itself, behind its length.

use super::Encoding;
use crate::failure::{Failure, Kind};
use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use std::collections::VecDeque;
use std::io::{self, Write};

/// What unpacking yields next.
pub(crate) enum Step {
    /// There will be more when more has come.
    Hungry,
    /// So many bytes more are in memory now.
    Took(usize),
    /// A piece of the body, of whose bytes was told.
    Data(Bytes),
}

/// A body that is being unpacked.
pub(crate) struct Unpacking {
    encoding: Encoding,
    /// What came and was not looked at yet.
    packed: Bytes,
    /// What is handed over next.
    ready: VecDeque<Bytes>,
    stage: Stage,
}

/// What comes next.
enum Stage {
    /// More of a body that is packed as a whole.
    Whole(Stream),
    Ended,
    /// Messages: the flag and the length of one, as far as they are there.
    Head(Vec<u8>),
    /// So many bytes of a message that is not packed.
    Plain(usize),
    /// So many bytes of a message that is packed, and what they were until now.
    Message {
        left: usize,
        stream: Stream,
        pieces: Vec<Bytes>,
    },
}

/// Bytes before each message: a flag and its length.
const HEAD: usize = 5;

impl Unpacking {
    /// Of a body that is packed as a whole.
    pub(crate) fn whole(encoding: Encoding) -> Self {
        Unpacking { encoding, packed: Bytes::new(), ready: VecDeque::new(), stage: Stage::Whole(Stream::new(encoding)) }
    }

    /// Of messages, of which each may be packed; they become such that are not.
    pub(crate) fn messages(encoding: Encoding) -> Self {
        Unpacking { encoding, packed: Bytes::new(), ready: VecDeque::new(), stage: Stage::Head(Vec::new()) }
    }

    /// Takes what has come, when it is hungry.
    pub(crate) fn push(&mut self, packed: Bytes) {
        self.packed = packed;
    }

    pub(crate) fn step(&mut self) -> Result<Step, Failure> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Step::Data(piece));
            }
            if self.packed.is_empty() && !matches!(self.stage, Stage::Message { left: 0, .. }) {
                return Ok(Step::Hungry);
            }
            let took = match &mut self.stage {
                Stage::Whole(stream) => {
                    let piece = stream.next(&mut self.packed).map_err(|e| damaged(self.encoding, &e))?;
                    let took = piece.len();
                    self.ready.push_back(piece);
                    took
                }
                Stage::Ended => return Err(damaged(self.encoding, &behind())),
                Stage::Head(head) => {
                    head.extend_from_slice(&self.packed.split_to(self.packed.len().min(HEAD - head.len())));
                    let Some(&[flag, l0, l1, l2, l3]) = head.first_chunk() else { continue };
                    let left = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
                    if flag == 1 {
                        self.stage = Stage::Message { left, stream: Stream::new(self.encoding), pieces: Vec::new() };
                        continue;
                    }
                    self.ready.push_back(std::mem::take(head).into());
                    self.stage = Stage::Plain(left);
                    HEAD
                }
                Stage::Plain(0) => {
                    self.stage = Stage::Head(Vec::new());
                    continue;
                }
                Stage::Plain(left) => {
                    let piece = self.packed.split_to(self.packed.len().min(*left));
                    *left -= piece.len();
                    let took = piece.len();
                    self.ready.push_back(piece);
                    took
                }
                Stage::Message { left: 0, .. } => self.message()?,
                Stage::Message { left, stream, pieces } => {
                    let mut own = self.packed.slice(..self.packed.len().min(*left));
                    let before = own.len();
                    let piece = stream.next(&mut own).map_err(|e| damaged(self.encoding, &e))?;
                    let read = before - own.len();
                    *left -= read;
                    drop(self.packed.split_to(read));
                    let took = piece.len();
                    pieces.push(piece);
                    took
                }
            };
            if took > 0 {
                return Ok(Step::Took(took));
            }
        }
    }

    /// A message has come: it is handed over as one that is not packed.
    fn message(&mut self) -> Result<usize, Failure> {
        let Stage::Message { stream, mut pieces, .. } = std::mem::replace(&mut self.stage, Stage::Head(Vec::new())) else {
            return Ok(0);
        };
        let last = stream.finish().map_err(|e| damaged(self.encoding, &e))?;
        let took = HEAD + last.len();
        pieces.push(last);
        let len = pieces.iter().map(Bytes::len).sum::<usize>();
        let len = u32::try_from(len).map_err(|_| Failure::new(Kind::TooLarge, "a message has more than 4 GiB"))?;
        self.ready.push_back([&[0][..], &len.to_be_bytes()].concat().into());
        self.ready.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
        Ok(took)
    }

    /// Nothing more will come: so many bytes more are in memory, if any are.
    pub(crate) fn end(&mut self) -> Result<usize, Failure> {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Whole(stream) => {
                let last = stream.finish().map_err(|e| damaged(self.encoding, &e))?;
                let took = last.len();
                self.ready.extend((took > 0).then_some(last));
                Ok(took)
            }
            Stage::Message { .. } => Err(damaged(self.encoding, &io::Error::other("it ends early"))),
            // What else is cut off is noticed by those who read it.
            Stage::Head(_) | Stage::Plain(_) | Stage::Ended => Ok(0),
        }
    }
}

fn damaged(encoding: Encoding, error: &io::Error) -> Failure {
    let found = format!("what is damaged or cut off ({error})");
    Failure::input(format!("content-encoding {}", encoding.name()), "a whole and sound body", found)
}

fn behind() -> io::Error {
    io::Error::other("more bytes behind its end")
}

/// Bytes that were packed by themselves.
enum Stream {
    /// Members one behind the other, as RFC 1952 has them, which together are one body.
    Gzip(MultiGzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
}

impl Stream {
    fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Gzip => Stream::Gzip(MultiGzDecoder::new(Vec::new())),
            Encoding::Deflate => Stream::Deflate(ZlibDecoder::new(Vec::new())),
        }
    }

    /// What the next bytes are, of which those that were read are taken away: at most twice 32 KiB, which is what decoders have room for.
    fn next(&mut self, packed: &mut Bytes) -> io::Result<Bytes> {
        let read = match self {
            Stream::Gzip(decoder) => decoder.write(packed)?,
            Stream::Deflate(decoder) => decoder.write(packed)?,
        };
        if read == 0 {
            return Err(behind());
        }
        drop(packed.split_to(read));
        let found = match self {
            Stream::Gzip(decoder) => decoder.get_mut(),
            Stream::Deflate(decoder) => decoder.get_mut(),
        };
        Ok(std::mem::take(found).into())
    }

    /// The last bytes, if nothing is missing.
    fn finish(self) -> io::Result<Bytes> {
        match self {
            Stream::Gzip(decoder) => decoder.finish(),
            Stream::Deflate(decoder) => decoder.finish(),
        }
        .map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::Packer;
    use super::*;

    fn packed(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut packer = Packer::new(encoding);
        let first = packer.pack(bytes).expect("memory takes everything");
        [first, packer.finish().expect("memory takes everything")].concat()
    }

    /// What comes of `packed`, which comes in pieces of `len` bytes; no more is handed over than was told of before, nor far less.
    fn unpacked(mut unpacking: Unpacking, packed: &[u8], len: usize) -> Result<Vec<u8>, Failure> {
        let (mut found, mut told) = (Vec::new(), 0);
        let mut pieces = packed.chunks(len);
        loop {
            match unpacking.step()? {
                Step::Took(more) => {
                    assert!(more <= len.min(packed.len()).max(1 << 17), "{more} bytes at once");
                    told += more;
                }
                Step::Data(piece) => {
                    found.extend_from_slice(&piece);
                    assert!(found.len() <= told, "{} bytes of {told}", found.len());
                }
                Step::Hungry => match pieces.next() {
                    Some(piece) => unpacking.push(Bytes::copy_from_slice(piece)),
                    None => match unpacking.end()? {
                        0 => break,
                        more => told += more,
                    },
                },
            }
        }
        assert_eq!(found.len(), told);
        Ok(found)
    }

    const BOTH: [Encoding; 2] = [Encoding::Gzip, Encoding::Deflate];

    /// Some bytes that can be packed, and many that are the same.
    fn bodies() -> Vec<Vec<u8>> {
        let mut random = fastrand::Rng::with_seed(9);
        let mixed = (0..200_000).map(|i| if i % 3 == 0 { random.u8(..) } else { (i >> 8) as u8 }).collect();
        vec![Vec::new(), b"a".to_vec(), mixed, vec![0; 5_000_000]]
    }

    #[test]
    fn bodies_come_back_in_whatever_pieces() {
        for encoding in BOTH {
            for body in bodies() {
                let packed = packed(encoding, &body);
                for len in [1, 7, 1000, usize::MAX] {
                    let found = unpacked(Unpacking::whole(encoding), &packed, len).expect("it is sound");
                    assert!(found == body, "{encoding:?}, {} bytes by {len}", body.len());
                }
            }
        }
    }

    #[test]
    fn members_of_gzip_are_one_body() {
        let members = bodies();
        let packed: Vec<u8> = members.iter().flat_map(|member| packed(Encoding::Gzip, member)).collect();
        for len in [1, 7, 1000, usize::MAX] {
            let found = unpacked(Unpacking::whole(Encoding::Gzip), &packed, len).expect("it is sound");
            assert!(found == members.concat(), "by {len}");
        }
        let last = &packed[..packed.len() - 1];
        assert!(unpacked(Unpacking::whole(Encoding::Gzip), last, 1000).is_err(), "the last member is cut off");
    }

    #[test]
    fn messages_come_back_unpacked() {
        let message = |flag: u8, bytes: &[u8]| [&[flag][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat();
        for encoding in BOTH {
            let (mut sent, mut expected) = (Vec::new(), Vec::new());
            for body in bodies() {
                sent.extend(message(1, &packed(encoding, &body)));
                sent.extend(message(0, &body));
                expected.extend(message(0, &body).repeat(2));
            }
            for len in [3, 1000, usize::MAX] {
                let found = unpacked(Unpacking::messages(encoding), &sent, len).expect("it is sound");
                assert!(found == expected, "{encoding:?} by {len}");
            }
        }
    }

    #[test]
    fn what_is_damaged_or_cut_off_is_refused() {
        for encoding in BOTH {
            let body = b"some text, and some text again, and some more text".repeat(20);
            let packed = packed(encoding, &body);
            let whole = |bytes: &[u8]| unpacked(Unpacking::whole(encoding), bytes, 10);
            for len in 0..packed.len() {
                let failure = whole(&packed[..len]).expect_err("it is cut off");
                let message = format!("{failure:?}");
                assert!(failure.kind == Kind::Invalid && message.contains("expected a whole and sound body"), "{message}");
                let head = [&[1][..], &(len as u32).to_be_bytes(), &packed[..len]].concat();
                assert!(unpacked(Unpacking::messages(encoding), &head, 10).is_err(), "{encoding:?}, {len}");
            }
            for behind in [&b"x"[..], b"\0", b"\x1f\x8b", &[b'x'; 100]] {
                let more = whole(&[&packed[..], behind].concat()).expect_err("there is more");
                assert!(format!("{more:?}").contains("expected a whole and sound body"), "{more:?}");
            }
            // Checksums cover what it says; the time of gzip's header, and bits that fill up a byte, say nothing.
            for at in 0..packed.len() {
                let mut changed = packed.clone();
                changed[at] ^= 4;
                assert!(whole(&changed).map_or(true, |found| found == body), "{encoding:?} at {at}");
            }
        }
    }
}
