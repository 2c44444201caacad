//! What an Arrow file says of lengths, compared with what it has before its reader believes it: Arrow's crate takes as much memory as a block,
//! or a packed buffer, says that it needs.

use anyhow::{Context, Result, anyhow, bail, ensure};
use arrow_ipc::{MessageHeader, RecordBatch, root_as_footer, root_as_message};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// How many bytes one of LZ4 can stand for, at most.
const MOST_PACKED: u64 = 255;
/// Comes before the length of each message's metadata, but for those of old files.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// The length of a footer, and what ends a file.
const TRAILER: usize = 10;
/// Before the bytes of a packed buffer: how many it stands for.
const PREFIX: u64 = 8;

/// Refuses an Arrow file if one of its lengths is more than there can be.
pub(crate) fn ensure_blocks(file: &File) -> Result<()> {
    Claims::of(file)?.of_blocks()
}

/// Refuses an Arrow stream if one of its lengths is more than there can be. What it is read from is at its beginning again, if it is sound.
pub(crate) fn ensure_messages(mut file: &File) -> Result<()> {
    Claims::of(file)?.of_stream()?;
    Ok(file.rewind()?)
}

struct Claims<'a> {
    file: &'a File,
    len: u64,
}

impl<'a> Claims<'a> {
    fn of(file: &'a File) -> Result<Self> {
        Ok(Claims { file, len: file.metadata()?.len() })
    }

    /// The bytes at a place, if there are so many.
    fn bytes(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        let is_there = at.checked_add(len).is_some_and(|end| end <= self.len);
        ensure!(is_there, "expected {len} bytes from {at} on, found {}", self.len.saturating_sub(at));
        let (mut file, mut bytes) = (self.file, Vec::new());
        file.seek(SeekFrom::Start(at))?;
        file.take(len).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 == len, "the file became shorter");
        Ok(bytes)
    }

    fn of_blocks(&self) -> Result<()> {
        let trailer = self.len.checked_sub(TRAILER as u64).context("expected a footer, found the end of the file")?;
        let footer_len = i32::from_le_bytes(*self.bytes(trailer, 4)?.first_chunk().context("a length")?);
        let start = u64::try_from(footer_len).ok().and_then(|len| trailer.checked_sub(len));
        let footer = self.bytes(start.context("expected a footer within the file")?, footer_len as u64)?;
        let footer = root_as_footer(&footer).map_err(|e| anyhow!("expected a footer: {e}"))?;
        let blocks = footer.dictionaries().into_iter().chain(footer.recordBatches()).flatten();
        for block in blocks {
            let part = |number: i64| u64::try_from(number).context("expected a length, found a negative one");
            let (at, metadata, body) = (part(block.offset())?, part(block.metaDataLength().into())?, part(block.bodyLength())?);
            let metadata_end = at.checked_add(metadata).context("expected a block within the file")?;
            ensure!(self.len.checked_sub(metadata_end).is_some_and(|rest| body <= rest), "expected a block within the file");
            let message = self.bytes(at, metadata)?;
            let message = message.strip_prefix(&CONTINUATION).unwrap_or(&message);
            self.of_message(message.get(4..).context("expected a message, found less")?, metadata_end, Some(body))?;
        }
        Ok(())
    }

    fn of_stream(&self) -> Result<()> {
        let mut at = 0;
        // What ends a stream may be its end.
        while at < self.len {
            let mut word = self.bytes(at, 4)?;
            at += 4;
            if word == CONTINUATION {
                word = self.bytes(at, 4)?;
                at += 4;
            }
            let len = i32::from_le_bytes(*word.first_chunk().context("a length")?);
            if len == 0 {
                break;
            }
            let len = u64::try_from(len).ok().context("expected a length, found a negative one")?;
            let message = self.bytes(at, len)?;
            at = self.of_message(&message, at + len, None)?;
        }
        Ok(())
    }

    /// Looks at a message whose body is said to be at `at`, and to have `len` bytes if a footer says that. Yields where its own body ends.
    fn of_message(&self, message: &[u8], at: u64, len: Option<u64>) -> Result<u64> {
        let message = root_as_message(message).map_err(|e| anyhow!("expected a message: {e}"))?;
        let own = u64::try_from(message.bodyLength()).ok().context("expected a length, found a negative one")?;
        let end = at.checked_add(own).filter(|&end| end <= self.len);
        let end = end.with_context(|| format!("expected {own} bytes from {at} on, found {}", self.len - at))?;
        let batch = match message.header_type() {
            MessageHeader::RecordBatch => message.header_as_record_batch(),
            MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()),
            _ => None,
        };
        batch.map_or(Ok(()), |batch| self.of_batch(batch, at, len.unwrap_or(own)))?;
        Ok(end)
    }

    /// Looks at what packed buffers are said to stand for.
    fn of_batch(&self, batch: RecordBatch<'_>, at: u64, len: u64) -> Result<()> {
        let Some((_, buffers)) = batch.compression().zip(batch.buffers()) else { return Ok(()) };
        for buffer in buffers {
            let (Ok(offset), Ok(packed)) = (u64::try_from(buffer.offset()), u64::try_from(buffer.length())) else {
                bail!("expected a buffer within its block");
            };
            ensure!(offset.checked_add(packed).is_some_and(|end| end <= len), "expected a buffer within its block");
            if packed < PREFIX {
                continue;
            }
            let said = i64::from_le_bytes(*self.bytes(at + offset, PREFIX)?.first_chunk().context("a length")?);
            let most = (packed - PREFIX).saturating_mul(MOST_PACKED);
            // A negative one: it is not packed, or it is an error of the reader.
            let is_possible = u64::try_from(said).map_or(true, |said| said <= most);
            ensure!(is_possible, "expected at most {most} bytes of a buffer that is packed in {packed}, found {said}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, BinaryArray, RecordBatch};
    use arrow_ipc::CompressionType;
    use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
    use std::io::Write;
    use std::sync::Arc;

    /// A table of a column that LZ4 packs well.
    fn table(is_stream: bool) -> Vec<u8> {
        let column: ArrayRef = Arc::new(BinaryArray::from_iter_values([vec![7; 10_000]]));
        let batch = RecordBatch::try_from_iter([("image", column)]).expect("one column");
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).expect("LZ4");
        let (mut bytes, schema) = (Vec::new(), batch.schema());
        if !is_stream {
            let mut writer = FileWriter::try_new_with_options(&mut bytes, &schema, options).expect("a writer");
            writer.write(&batch).and_then(|()| writer.finish()).expect("memory takes everything");
        } else {
            let mut writer = StreamWriter::try_new_with_options(&mut bytes, &schema, options).expect("a writer");
            writer.write(&batch).and_then(|()| writer.finish()).expect("memory takes everything");
        }
        bytes
    }

    fn looked_at(bytes: &[u8], is_stream: bool) -> String {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("it is written");
        let found = if is_stream { ensure_messages(&file) } else { ensure_blocks(&file) };
        found.map_or_else(|e| e.to_string(), |()| "sound".to_owned())
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for is_stream in [false, true] {
            let sound = table(is_stream);
            assert_eq!(looked_at(&sound, is_stream), "sound");
            let place = |bytes: &[u8]| (0..sound.len() - 8).rfind(|&at| sound[at..].starts_with(bytes)).expect("it is there");
            // What a packed buffer stands for.
            let mut large = sound.clone();
            large[place(&10_000u64.to_le_bytes()) + 6] = 1;
            let message = looked_at(&large, is_stream);
            assert!(message.ends_with(", found 281474976720656") && message.starts_with("expected at most "), "{message}");
            // What is no length may be anything here: the reader finds it.
            let others = (0..sound.len())
                .map(|at| sound.iter().enumerate().map(|(i, byte)| byte ^ if i == at { 0x80 } else { 0 }).collect());
            for other in others.chain((1..sound.len()).map(|len| sound[..len].to_vec())) {
                let message = looked_at(&other, is_stream);
                assert!(message == "sound" || message.starts_with("expected "), "{message}");
            }
        }
    }
}
