//! What benchmarks measured, as a CSV file that people and programs can read. `docs/benchmarks.md` describes it.
//!
//! Lines that begin with `#` come first. They say on what machine, when and how it was measured: `# key: value`, with one line for each
//! value of a key.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;
use std::io::Write;
use std::path::Path;

/// Larger files are not read: they are no records.
const MOST_BYTES: u64 = 64 << 20;

/// What was timed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Measure {
    /// The matrix product alone, with the lowered matrix already there, as the paper measured. Columns that are not kept are not in it.
    #[serde(rename = "GEMM")]
    Gemm,
    /// The same by a library.
    #[serde(rename = "library GEMM")]
    LibraryGemm,
    /// A layer from image to image: lowering, bias and Relu too.
    #[serde(rename = "convolution")]
    Convolution,
    /// A whole network.
    #[serde(rename = "network")]
    Network,
    /// What comes before a network's runs. Its floor, if there is one, is that of the first run.
    #[serde(rename = "load")]
    Load,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Measure::Gemm => "GEMM",
            Measure::LibraryGemm => "library GEMM",
            Measure::Convolution => "convolution",
            Measure::Network => "network",
            Measure::Load => "load",
        })
    }
}

/// Times of one form of one layer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The network's name.
    pub net: String,
    /// The layer's name.
    pub layer: String,
    /// What was timed.
    pub measure: Measure,
    /// What is left of the layer, and, where there are several ways, how it is computed.
    pub form: String,
    /// A baseline is timed once more in turns with each form that it is compared with, which is named here; else this is empty.
    pub beside: String,
    /// How many threads computed it.
    pub threads: usize,
    /// How many images are computed at once.
    pub batch: usize,
    /// The kernel that computes it.
    pub kernel: String,
    /// Count of multiply-accumulates.
    pub macs: u64,
    /// The least count of bytes that it reads and writes.
    pub bytes: u64,
    /// The least time that it can take on this machine, in microseconds.
    pub floor_us: f64,
    /// The median time, in microseconds.
    pub median_us: f64,
    /// A quarter of the samples took less than this, in microseconds.
    pub lower_quartile_us: f64,
    /// A quarter of the samples took more than this, in microseconds.
    pub upper_quartile_us: f64,
    /// How many samples the times are of: those that nobody disturbed. At 0 there was none, and the times are of all samples.
    pub quiet: usize,
    /// How many samples were taken.
    pub samples: usize,
}

/// What makes two rows the same measurement.
pub type Key<'a> = (&'a str, &'a str, Measure, &'a str, &'a str, usize, usize);

impl Row {
    /// Unique in a record.
    pub fn key(&self) -> Key<'_> {
        (&self.net, &self.layer, self.measure, &self.form, &self.beside, self.threads, self.batch)
    }

    /// The row's name, for people.
    pub fn name(&self) -> String {
        let batch = if self.batch == 1 { String::new() } else { format!(", batch {}", self.batch) };
        format!("{} {}, {}, {}, threads {}{batch}", self.net, self.layer, self.measure, self.form, self.threads)
    }

    /// Distance of the quartiles, relative to the median.
    pub fn spread(&self) -> f64 {
        (self.upper_quartile_us - self.lower_quartile_us) / self.median_us
    }

    /// Which share of the time the machine needs in any case.
    pub fn of_floor(&self) -> f64 {
        self.floor_us / self.median_us
    }

    fn check(&self) -> Result<()> {
        let [floor, lower, median, upper] = [self.floor_us, self.lower_quartile_us, self.median_us, self.upper_quartile_us];
        for (name, us) in [("floor_us", floor), ("lower_quartile_us", lower), ("upper_quartile_us", upper)] {
            ensure!(us.is_finite() && us >= 0.0, "{name}: expected microseconds, found {us}");
        }
        ensure!(median.is_finite() && median > 0.0, "median_us: expected microseconds above 0, found {median}");
        ensure!(
            lower <= median && median <= upper,
            "expected the median between the quartiles, found {lower}, {median}, {upper}"
        );
        ensure!(self.macs > 0 || self.measure == Measure::Load, "macs: expected at least 1, found 0");
        ensure!(self.quiet <= self.samples, "expected at most {} quiet samples, found {}", self.samples, self.quiet);
        for (name, count) in [("threads", self.threads), ("batch", self.batch), ("samples", self.samples)] {
            ensure!(count > 0, "{name}: expected at least 1, found 0");
        }
        Ok(())
    }
}

/// Rows, with notes that hold for all of them.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Record {
    /// Keys and values of the notes, in the file's order.
    pub notes: Vec<(String, String)>,
    /// The rows, of which no two have the same key.
    pub rows: Vec<Row>,
}

impl Record {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or is no record, with the line.
    pub fn read(path: &Path) -> Result<Self> {
        let len = path.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
        ensure!(len <= MOST_BYTES, "{}: expected a record of at most {MOST_BYTES} bytes, found {len}", path.display());
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// The record that `text` is.
    ///
    /// # Errors
    /// If it is no record, with the line.
    pub fn parse(text: &str) -> Result<Self> {
        let mut record = Record::default();
        for line in text.lines().map_while(|line| line.strip_prefix('#')) {
            let Some((key, value)) = line.split_once(':') else { bail!("expected '# key: value', found '#{line}'") };
            record.note(key.trim(), value.trim());
        }
        let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
        for row in reader.deserialize::<Row>() {
            let row = row?;
            row.check().with_context(|| row.name())?;
            record.rows.push(row);
        }
        ensure!(!record.rows.is_empty(), "expected measurements, found none");
        let mut keys = HashSet::new();
        if let Some(twice) = record.rows.iter().find(|row| !keys.insert(row.key())) {
            bail!("measured twice: {}", twice.name());
        }
        Ok(record)
    }

    /// Adds what `later` says; rows of the same key are replaced, and notes are kept beside others of their key.
    pub fn merge(&mut self, later: Record) {
        later.notes.iter().for_each(|(key, value)| self.note(key, value));
        let keys: HashSet<_> = later.rows.iter().map(Row::key).collect();
        self.rows.retain(|row| !keys.contains(&row.key()));
        self.rows.extend(later.rows);
    }

    /// Adds a note unless it is there; control characters have no place in one.
    pub fn note(&mut self, key: &str, value: &str) {
        let [key, value] = [key, value].map(|text| text.replace(char::is_control, " "));
        let note = (key, value);
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// All notes of a key.
    pub fn notes<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.notes.iter().filter(move |note| note.0 == key).map(|note| note.1.as_str())
    }

    /// Writes a file that appears whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut file = ssl_cli::file_beside(path)?;
        for (key, value) in &self.notes {
            writeln!(file, "# {key}: {value}")?;
        }
        let mut writer = csv::Writer::from_writer(&mut file);
        self.rows.iter().try_for_each(|row| writer.serialize(row))?;
        writer.flush()?;
        drop(writer);
        ssl_cli::put_in_place(vec![file])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADINGS: &str = "net,layer,measure,form,beside,threads,batch,kernel,macs,bytes,floor_us,median_us,lower_quartile_us,\
                            upper_quartile_us,quiet,samples\n";

    fn record(rows: &str) -> Result<Record> {
        Record::parse(&format!("# cpu: a, b: c\n{HEADINGS}{rows}"))
    }

    #[test]
    fn what_is_written_is_read() {
        let mut record = record("N,\"a, b\",GEMM,dense,,1,8,\"k \"\"1\"\"\",1000,10,0.5,2,1,2.5,3,4\n").expect("a record");
        record.note("command", "two\nlines");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("record.csv");
        record.write(&path).expect("it is written");
        assert_eq!(Record::read(&path).expect("it is read"), record);
        assert_eq!(record.notes("cpu").collect::<Vec<_>>(), ["a, b: c"]);
        assert_eq!((record.rows[0].spread(), record.rows[0].of_floor()), (0.75, 0.25));
    }

    #[test]
    fn later_rows_replace_earlier_ones() {
        let mut all =
            record("N,a,GEMM,dense,,1,1,k,10,1,1,2,1,3,3,4\nN,b,GEMM,dense,,1,1,k,10,1,1,2,1,3,3,4\n").expect("a record");
        all.merge(
            record("N,a,GEMM,dense,,1,1,k,10,1,1,9,8,10,3,4\nN,a,GEMM,dense,x,1,1,k,10,1,1,7,6,8,3,4\n").expect("a record"),
        );
        assert_eq!(all.rows.iter().map(|row| row.median_us).collect::<Vec<_>>(), [2.0, 9.0, 7.0]);
        assert_eq!(all.notes.len(), 1);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let cases = [
            ("N,a,GEMM,dense,,1,1,k,10,1,1,2,1,3,3\n", "line: 3"),
            ("N,a,SPEED,dense,,1,1,k,10,1,1,2,1,3,3,4\n", "SPEED"),
            ("N,a,GEMM,dense,,-1,1,k,10,1,1,2,1,3,3,4\n", "line: 3, byte: 146): field 5"),
            ("N,a,GEMM,dense,,0,1,k,10,1,1,2,1,3,3,4\n", "threads: expected at least 1, found 0"),
            ("N,a,GEMM,dense,,1,1,k,0,1,1,2,1,3,3,4\n", "macs: expected at least 1, found 0"),
            ("N,a,GEMM,dense,,1,1,k,10,1,inf,2,1,3,3,4\n", "floor_us: expected microseconds, found inf"),
            ("N,a,GEMM,dense,,1,1,k,10,1,1,NaN,1,3,3,4\n", "median_us: expected microseconds above 0, found NaN"),
            ("N,a,GEMM,dense,,1,1,k,10,1,1,0,0,3,3,4\n", "median_us: expected microseconds above 0, found 0"),
            ("N,a,GEMM,dense,,1,1,k,10,1,1,2,2.5,3,3,4\n", "between the quartiles"),
            ("N,a,GEMM,dense,,1,1,k,10,1,1,2,1,3,5,4\n", "at most 4 quiet samples, found 5"),
            (&"N,a,GEMM,dense,,1,1,k,10,1,1,2,1,3,3,4\n".repeat(2), "measured twice: N a, GEMM, dense, threads 1"),
        ];
        for (rows, expected) in cases {
            let error = format!("{:#}", record(rows).expect_err(rows));
            assert!(error.contains(expected), "{rows}: {error}");
        }
    }
}
