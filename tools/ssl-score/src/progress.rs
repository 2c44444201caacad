//! What is noted beside the parts of an output: what it is made of, and how many parts are complete. The note is replaced after each part,
//! in one step, so it never says more than there is; a part that it does not tell of yet is made again, with the same bytes.

use crate::format::Output;
use crate::marks::{self, MARKS, Mark};
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Readers of folders of Parquet files pass over names that begin like this.
const NOTE: &str = "_ssl-score.json";
/// How names of files begin that never became complete, where the system has no files without a name.
const PARTIAL: &[u8] = b".ssl-partial-";

/// How much is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Complete parts.
    pub(crate) parts: u64,
    /// Their rows.
    pub(crate) rows: u64,
    /// How many of these are errors.
    pub(crate) failed: u64,
    /// Whether nothing is left to be scored.
    pub(crate) complete: bool,
    /// Whether the parts have become the one file that was asked for, and are being removed.
    pub(crate) joined: bool,
}

#[derive(Serialize, Deserialize)]
struct Note {
    made_of: Value,
    done: Done,
}

/// The work on an output.
pub(crate) struct Work {
    folder: PathBuf,
    /// Whether the folder is the user's, and was there before.
    is_given: bool,
    note: Note,
}

impl Work {
    /// Begins an output, or goes on with one that is made of the same.
    pub(crate) fn begin(output: &Output, made_of: Value, is_repeatable: bool) -> Result<Self> {
        let folder = output.folder.clone();
        let cannot_write = || format!("cannot write into {}", folder.display());
        let is_given = !output.is_one_file() && folder.exists();
        std::fs::create_dir_all(&folder).with_context(cannot_write)?;
        let path = folder.join(NOTE);
        if path.exists() {
            let note = read(&path).with_context(|| format!("{}: expected the note of a run of ssl-score", path.display()))?;
            ensure_same(&note.made_of, &made_of, &folder)?;
            let remove = "remove it to begin anew";
            ensure!(
                is_repeatable,
                "{}: a run on standard input was ended, and cannot be gone on with: {remove}",
                folder.display()
            );
            let work = Work { folder, is_given, note };
            let in_vain = |e: anyhow::Error| anyhow!("{e:#}: {}: {remove}", work.folder.display());
            work.ensure_sound(output).map_err(in_vain)?;
            return Ok(work);
        }
        for entry in folder.read_dir().with_context(cannot_write)? {
            let name = entry.with_context(cannot_write)?.file_name();
            let is_partial = name.as_encoded_bytes().starts_with(PARTIAL);
            let name = name.to_string_lossy();
            ensure!(is_partial, "{}: expected a new or empty folder, or one of ssl-score, found '{name}'", folder.display());
        }
        let mut work = Work { folder, is_given, note: Note { made_of, done: Done::default() } };
        work.note(Done::default())?;
        Ok(work)
    }

    /// Refuses to go on with parts that are not what they were when they were complete. Lengths are compared first: they cost no reading.
    fn ensure_sound(&self, output: &Output) -> Result<()> {
        if self.note.done.joined {
            if let Some(file) = output.file.as_ref().filter(|file| !file.is_file()) {
                bail!("{}: expected a complete file, found none", file.display());
            }
            return Ok(());
        }
        let marks = self.marks()?;
        for ensure in [Mark::ensure_length, Mark::ensure_bytes] {
            for (index, &mark) in (0..).zip(&marks) {
                ensure(mark, &output.part(index))?;
            }
        }
        Ok(())
    }

    /// By what complete parts are known again.
    pub(crate) fn marks(&self) -> Result<Vec<Mark>> {
        marks::read(&self.folder, self.note.done.parts)
    }

    /// Notes by what a part is known again. It counts when the note counts the part.
    pub(crate) fn mark(&self, part: u64, mark: Mark) -> Result<()> {
        marks::write(&self.folder, part, mark)
    }

    pub(crate) fn done(&self) -> &Done {
        &self.note.done
    }

    /// Notes how much is done: what it tells of lies on the disk before it does.
    pub(crate) fn note(&mut self, done: Done) -> Result<()> {
        // Not every system can do that to a folder.
        let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
        self.note.done = done;
        let mut file = ssl_cli::file_beside(&self.folder.join(NOTE))?;
        let mut text = serde_json::to_string_pretty(&self.note)?;
        text.push('\n');
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        ssl_cli::put_in_place(vec![file])
    }

    /// After an error: what has no complete part is no work that could go on, and nothing is left of it.
    pub(crate) fn abandon(&self) {
        if self.note.done == Done::default() {
            // The error that calls for this is told.
            for name in [MARKS, NOTE] {
                let _ = std::fs::remove_file(self.folder.join(name));
            }
            if !self.is_given {
                let _ = std::fs::remove_dir(&self.folder);
            }
        }
    }

    /// Removes the folder, whose parts have become one file. The note that says so goes last.
    pub(crate) fn remove(&mut self) -> Result<()> {
        self.note(Done { joined: true, ..self.note.done.clone() })?;
        let remove = || {
            for entry in self.folder.read_dir()? {
                let entry = entry?;
                if entry.file_name() != NOTE {
                    std::fs::remove_file(entry.path())?;
                }
            }
            std::fs::remove_file(self.folder.join(NOTE))?;
            std::fs::remove_dir(&self.folder)
        };
        remove().with_context(|| format!("cannot remove {}", self.folder.display()))
    }
}

fn read(path: &Path) -> Result<Note> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_reader(std::io::BufReader::new(file))?)
}

/// Refuses to go on with what is made of something else, naming the first difference.
fn ensure_same(found: &Value, expected: &Value, folder: &Path) -> Result<()> {
    let (Value::Object(found), Value::Object(expected)) = (found, expected) else { bail!("expected an object") };
    for key in expected.keys().chain(found.keys()) {
        let [found, expected] = [found, expected].map(|values| values.get(key).unwrap_or(&Value::Null));
        ensure!(
            found == expected,
            "{}: was begun with another {key}: expected {expected}, found {found}: use the same, or another --output, or remove it",
            folder.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::marks::Marked;
    use crate::parts::put;
    use serde_json::json;

    #[test]
    fn only_the_same_goes_on() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = Output { folder: folder.path().join("new/out"), format: Format::Csv, file: None };
        let begin = |top: usize, is_repeatable| Work::begin(&output, json!({ "model": 1, "top": top }), is_repeatable);
        let mut work = begin(5, true).expect("a new folder");
        assert_eq!(*work.done(), Done::default());
        let mut part = Marked::beside(&output.part(0)).expect("a writable folder");
        part.write_all(b"a part").expect("a writable folder");
        work.mark(0, put(part).expect("a writable folder")).expect("a writable folder");
        let done = Done { parts: 1, rows: 64, failed: 2, complete: false, joined: false };
        work.note(done.clone()).expect("a writable folder");
        assert_eq!(*begin(5, true).expect("the same").done(), done);
        for (result, expected) in [(begin(1, true), "another top: expected 1, found 5"), (begin(5, false), "standard input")] {
            let message = result.err().expect("a refusal").to_string();
            assert!(message.contains(expected), "{message}");
        }
        for (bytes, expected) in [(&b"a Part"[..], "expected the checksum"), (b"a par", "expected 6 bytes"), (b"", "found 0")] {
            std::fs::write(output.part(0), bytes).expect("a part");
            let message = format!("{:#}", begin(5, true).err().expect("a refusal"));
            assert!(message.contains("part-00000.csv: expected") && message.contains(expected), "{message}");
            assert!(message.contains("remove it to begin anew"), "{message}");
        }
        std::fs::remove_file(output.part(0)).expect("a part");
        let message = format!("{:#}", begin(5, true).err().expect("a refusal"));
        assert!(message.contains("part-00000.csv: expected a complete file"), "{message}");
        for text in ["", "{}", "{\"made_of\": 1, \"done\": {\"parts\": -1}}", "[[[["] {
            std::fs::write(output.folder.join(NOTE), text).expect("a writable folder");
            let message = format!("{:#}", begin(5, true).err().expect("a refusal"));
            assert!(message.contains("_ssl-score.json: expected the note"), "{message}");
        }
        let other = Output { folder: folder.path().to_owned(), ..output };
        let message = Work::begin(&other, json!({}), true).err().expect("a refusal").to_string();
        assert!(message.contains("expected a new or empty folder") && message.contains("found 'new'"), "{message}");
    }
}
