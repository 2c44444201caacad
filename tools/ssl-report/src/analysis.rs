//! What a record says, in words, tables and figures: the one place that makes a report of a record.

use crate::charts::{self, Colour, Roof, Series};
use crate::compare::{self, Verdict};
use crate::document::{Document, Part, Section, Table};
use crate::found;
use crate::gains::{self, Compared, Gain, Over};
use crate::gpu;
use crate::lines::{Cell, Line, gains_table, times};
use crate::paper::{self, Entry};
use crate::pauses;
use crate::peers::{self, Peers};
use crate::record::{Measure, Record, Row};
use std::collections::BTreeSet;

/// What a record is set beside; each of them may be absent.
#[derive(Clone, Copy, Default)]
pub struct Beside<'a> {
    /// An older record.
    pub baseline: Option<&'a Record>,
    /// Other runtimes.
    pub peers: Option<&'a Peers>,
    /// Calls after pauses, by sslm and by others.
    pub pauses: &'a [pauses::Report],
    /// What was measured on a GPU.
    pub gpu: Option<&'a gpu::Report>,
    /// What PyTorch took there.
    pub gpu_peers: Option<&'a gpu::PyTorch>,
}

/// A report of `record`.
pub fn report(record: &Record, Beside { baseline, peers, pauses, gpu, gpu_peers }: Beside<'_>) -> Document {
    let compared = gains::compare(&record.rows);
    let mut sections = vec![found::section(record, &compared), reading(record)];
    sections.extend(paper::entries().iter().filter_map(|entry| paper_entry(entry, &compared)));
    sections.extend(networks(&compared));
    sections.extend(loading(record));
    sections.extend(roofline(record));
    sections.extend(gpu.map(|gpu| gpu::section(gpu, gpu_peers)));
    sections.extend(baseline.map(|baseline| changes(baseline, record)));
    sections.extend(peers.map(|peers| beside_peers(peers, &record.rows)));
    sections.extend(pauses::section(pauses));
    sections.push(all(&compared));
    sections.push(conditions(record));
    let cpu = record.notes("cpu").next().unwrap_or("an unknown CPU");
    Document { title: format!("sslm on {cpu}"), sections }
}

fn reading(record: &Record) -> Section {
    let rows = record.rows.iter().filter(|row| row.beside.is_empty());
    let (all, disturbed) = (rows.clone().count(), rows.filter(|row| row.quiet == 0).count());
    let dates: BTreeSet<&str> = record.notes("date").collect();
    let texts = [
        format!(
            "{all} measurements, {} to {}. {disturbed} of them have no sample that nobody disturbed: their times are shown, and nothing \
             is concluded from them.",
            dates.first().unwrap_or(&"?"),
            dates.last().unwrap_or(&"?")
        ),
        "Gains say how many times as long the dense layer takes, timed in turns with the pruned one. GEMM is the paper's measure: the \
         matrix product alone, with the lowered matrix already there, one image, one thread. Convolution is the whole layer, from image \
         to image, with lowering, bias and Relu, by whatever method is expected to be fastest; its gains are over the dense layer as a \
         plain sum of products (packed), and over the fastest dense method there is, which may be Winograd's: it takes fewer \
         multiply-adds than are counted, so gains over packed can be above those of MACs. Means say in brackets how many layers they are of, \
         where some were disturbed."
            .to_owned(),
        "The paper's 5.1x and 3.1x are plain means over five layers. What a network gains is nearer to the mean that is weighted by \
         MACs, or to the ratio of summed times."
            .to_owned(),
    ];
    let has_library = record.rows.iter().any(|row| row.measure == Measure::LibraryGemm);
    let library = has_library.then(|| {
        let version =
            record.notes("gemm").next().map_or("a version that was not recorded".to_owned(), |v| format!("version {v}"));
        format!("Library GEMM is the same matrix product by the crate gemm, {version}.")
    });
    let texts = texts.into_iter().chain(library);
    Section { title: "How to read this".to_owned(), parts: texts.map(Part::Text).collect() }
}

/// What was timed, in which form, on how many threads.
type Form<'a> = (Measure, &'a str, usize);

/// The rows of one layer of a form.
fn find<'c, 'r>(
    compared: &'c [Compared<'r>],
    net: &str,
    layer: &str,
    (measure, form, threads): Form<'_>,
) -> Option<&'c Compared<'r>> {
    compared.iter().find(|compared| {
        let row = compared.row;
        row.net == net
            && row.layer == layer
            && row.measure == measure
            && row.form == form
            && row.threads == threads
            && row.batch == 1
    })
}

fn paper_entry(entry: &Entry, compared: &[Compared<'_>]) -> Option<Section> {
    let own: Vec<&Compared> = compared
        .iter()
        .filter(|c| entry.covers(&c.row.net, &c.row.form) && entry.layers.contains(&c.row.layer) && !c.baselines.is_empty())
        .collect();
    let mut parts: Vec<Part> = ways_to_prune(entry, &own).map(Part::Text).into_iter().collect();
    let threads: BTreeSet<usize> = own.iter().map(|compared| compared.row.threads).collect();
    for threads in threads {
        let mut forms: Vec<Form<'_>> = Vec::new();
        for compared in own.iter().filter(|compared| compared.row.threads == threads) {
            let form = (compared.row.measure, compared.row.form.as_str(), threads);
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        let lines = lines(entry, &forms, compared, threads == 1);
        let title = format!("{}, {}", entry.form, count(threads, "thread"));
        let series = lines.iter().filter_map(|line| {
            let values = line.cells.iter().map(|cell| if let Cell::Ratio { ratio, .. } = cell { Some(*ratio) } else { None });
            Some(Series { name: line.title.clone(), colour: line.colour?, values: values.collect() })
        });
        parts.push(Part::Figure(charts::bars(
            &format!("Gains of {title}"),
            "times as fast as dense",
            &entry.layers,
            &series.collect::<Vec<_>>(),
        )));
        parts.push(Part::Table(gains_table(&format!("Gains of {title}, layer by layer"), &entry.layers, &lines)));
        parts.push(Part::Table(times_table(&format!("Times of {title}"), entry, &forms, compared)));
    }
    (!own.is_empty()).then(|| Section { title: entry.title.clone(), parts })
}

/// What the words mean by which forms of an entry differ, where it has such.
fn ways_to_prune(entry: &Entry, own: &[&Compared<'_>]) -> Option<String> {
    const MEANINGS: [(&str, &str); 3] = [
        (", random", "random keeps just as many, anywhere among the channels and taps of the layer, as bars show it"),
        (
            ", aligned",
            "aligned keeps about as many in whole channels, all taps of each, which methods on whole channels gain from",
        ),
        (", low rank", "low rank keeps all, as two dense convolutions that have about as many multiply-accumulates together"),
    ];
    let is_there = |detail: &str| own.iter().any(|compared| compared.row.form.strip_prefix(&entry.form) == Some(detail));
    let meanings: Vec<&str> = MEANINGS.into_iter().filter(|(detail, _)| is_there(detail)).map(|(_, meaning)| meaning).collect();
    (!meanings.is_empty())
        .then(|| format!("The paper says how many columns of a layer are left, but not which: {}.", meanings.join("; ")))
}

fn lines(entry: &Entry, forms: &[Form<'_>], compared: &[Compared<'_>], with_paper: bool) -> Vec<Line> {
    // Multiply-accumulates before and after, of the form that has exactly what the entry keeps.
    let work = |layer: &String| {
        let compared = find(compared, &entry.net, layer, *forms.first()?)?;
        Some((compared.baselines.first()?.macs as f64, compared.row.macs as f64))
    };
    let known = |ratio: &dyn Fn(usize, f64, f64) -> f64| {
        let cell = |(i, layer): (usize, &String)| {
            work(layer).map_or(Cell::Missing, |(macs, kept)| Cell::Ratio { macs, ratio: ratio(i, macs, kept) })
        };
        entry.layers.iter().enumerate().map(cell).collect::<Vec<Cell>>()
    };
    let line = |title: &str, cells, colour| Line { title: title.to_owned(), cells, summed: None, colour };
    let mut lines = vec![line("MACs: what could be gained", known(&|_, macs, kept| macs / kept), Some(Colour::Work))];
    if with_paper {
        lines.push(line("paper, CPU", known(&|i, _, _| entry.cpu[i]), Some(Colour::Paper)));
        lines.extend(entry.gpu.as_ref().map(|gpu| line("paper, GPU", known(&|i, _, _| gpu[i]), None)));
    }
    for &form in forms {
        let (measure, name, _) = form;
        let detail = name.strip_prefix(&entry.form).unwrap_or_default();
        // Others keep something else.
        let drawn = matches!(detail, "" | ", random");
        let gain = |layer: &String| find(compared, &entry.net, layer, form).map(Compared::gain);
        let gains: Vec<Gain> = entry.layers.iter().filter_map(|layer| gain(layer)?).collect();
        let mut measured = |over: Over, title: String, colour: Colour| {
            let cell = |layer: &String| match gain(layer) {
                Some(Some(gain)) => Cell::Ratio { macs: gain.macs, ratio: gain.time(over) },
                Some(None) => Cell::Disturbed,
                None => Cell::Missing,
            };
            let cells = entry.layers.iter().map(cell).collect();
            lines.push(Line { title, cells, summed: gains::summed(&gains, over), colour: drawn.then_some(colour) });
        };
        let colour = match measure {
            Measure::Gemm => Colour::Gemm,
            Measure::LibraryGemm => Colour::Library,
            Measure::Convolution | Measure::Network | Measure::Load => Colour::Convolution,
        };
        measured(Over::First, format!("{measure}{detail}"), colour);
        if measure == Measure::Convolution {
            measured(Over::Fastest, format!("{measure}{detail}, over fastest dense"), Colour::Least);
        }
    }
    lines
}

const TIME_HEADINGS: [&str; 10] =
    ["kernel", "MMAC", "dense us", "us", "spread", "quiet samples", "floor us", "of floor", "gain", "gain of MACs"];

fn times_table(caption: &str, entry: &Entry, forms: &[Form<'_>], compared: &[Compared<'_>]) -> Table {
    let mut table = Table::new(caption, &[&["layer", "measure", "form"], &TIME_HEADINGS[..]].concat(), 4);
    table.long = true;
    for layer in &entry.layers {
        for &form in forms {
            let Some(compared) = find(compared, &entry.net, layer, form) else { continue };
            let row = compared.row;
            let names = [layer.clone(), row.measure.to_string(), row.form.clone()];
            table.rows.push(names.into_iter().chain(time_cells(compared)).collect());
        }
    }
    table
}

/// The cells of a row, as [`TIME_HEADINGS`] name them.
fn time_cells(compared: &Compared<'_>) -> [String; TIME_HEADINGS.len()] {
    let (row, gain) = (compared.row, compared.gain());
    let ratio = |text: fn(&Gain) -> String| gain.as_ref().map_or(String::new(), text);
    [
        row.kernel.clone(),
        format!("{:.3}", row.macs as f64 / 1e6),
        compared.baselines.first().map_or(String::new(), |dense| microseconds(dense.median_us)),
        microseconds(row.median_us),
        if row.quiet == 1 || row.samples == 1 { "-".to_owned() } else { percent(row.spread()) },
        format!("{} of {}", row.quiet, row.samples),
        microseconds(row.floor_us),
        percent(row.of_floor()),
        ratio(|gain| times(gain.time(Over::First))),
        ratio(|gain| percent(gain.time(Over::First) / gain.work)),
    ]
}

fn networks(compared: &[Compared<'_>]) -> Option<Section> {
    let networks: Vec<&Compared> = compared.iter().filter(|compared| compared.row.measure == Measure::Network).collect();
    let mut table = Table::new(
        "Whole networks; dense is the same network with nothing removed",
        &[&["net", "form", "threads", "batch"], &TIME_HEADINGS[1..]].concat(),
        2,
    );
    for compared in &networks {
        let row = compared.row;
        let names = [row.net.clone(), row.form.clone(), row.threads.to_string(), row.batch.to_string()];
        table.rows.push(names.into_iter().chain(time_cells(compared).into_iter().skip(1)).collect());
    }
    let mut parts = Vec::new();
    let shown = |c: &&&Compared| c.row.threads == 1 && c.row.batch == 1 && !c.baselines.is_empty();
    let shown: Vec<&Compared> = networks.iter().filter(shown).copied().collect();
    for pruned in shown.chunk_by(|a, b| a.row.net == b.row.net) {
        let series = |name: &str, colour, value: fn(&Gain) -> f64| Series {
            name: name.to_owned(),
            colour,
            values: pruned.iter().map(|compared| Some(value(&compared.gain()?))).collect(),
        };
        let forms: Vec<String> = pruned.iter().map(|compared| compared.row.form.clone()).collect();
        let series = [
            series("MACs: what could be gained", Colour::Work, |gain| gain.work),
            series("measured", Colour::Convolution, |gain| gain.time(Over::First)),
        ];
        let title = format!("Gains of {}, one image, one thread", pruned[0].row.net);
        parts.push(Part::Figure(charts::bars(&title, "times as fast as dense", &forms, &series)));
    }
    parts.push(Part::Table(table));
    (!networks.is_empty()).then(|| Section { title: "Whole networks".to_owned(), parts })
}

fn loading(record: &Record) -> Option<Section> {
    let mut table = Table::new(
        "From a file in the page cache to the first answer, one thread, one image",
        &["net", "form", "what", "us", "spread", "quiet samples"],
        3,
    );
    for row in record.rows.iter().filter(|row| row.measure == Measure::Load) {
        let quiet = format!("{} of {}", row.quiet, row.samples);
        let times = [microseconds(row.median_us), percent(row.spread()), quiet];
        table.rows.push([row.net.clone(), row.form.clone(), row.layer.clone()].into_iter().chain(times).collect());
    }
    if table.rows.is_empty() {
        return None;
    }
    let memory = record.notes("private memory").map(|note| {
        Part::Text(format!("Memory of a process that it shares with no other, behind what it had before loading: {note}."))
    });
    let parts = [Part::Table(table)].into_iter().chain(memory).collect();
    Some(Section { title: "Loading".to_owned(), parts })
}

fn roofline(record: &Record) -> Option<Section> {
    let threads: BTreeSet<usize> = record.rows.iter().map(|row| row.threads).collect();
    let figure = |&threads: &usize| {
        // Of several runs the best one: a ceiling is the most that was seen.
        let best = |what: &str| {
            let key = format!("{what}, threads {threads}");
            record
                .notes(&key)
                .filter_map(|value| value.parse::<f64>().ok())
                .filter(|rate| rate.is_finite() && *rate > 0.0)
                .reduce(f64::max)
        };
        let read = |from: &str| Some((from.to_owned(), best(&format!("GB/s from {from}"))?));
        let roof = Roof { peak: best("Gop/s")?, reads: ["256 KiB", "256 MiB"].into_iter().filter_map(read).collect() };
        let series = |name: &str, colour: Colour, is: &dyn Fn(&Row) -> bool| {
            let rows =
                record.rows.iter().filter(|row| row.threads == threads && row.beside.is_empty() && row.bytes > 0 && is(row));
            let point = |row: &Row| {
                let operations = 2.0 * row.macs as f64;
                (operations / row.bytes as f64, operations / row.median_us / 1e3)
            };
            Series { name: name.to_owned(), colour, values: rows.map(point).collect() }
        };
        let dense = |row: &Row| matches!(row.form.as_str(), "dense" | "packed");
        let ours = |row: &Row| row.measure == Measure::Convolution && !row.form.contains("library");
        let series = [
            series("dense layers", Colour::Work, &|row| ours(row) && dense(row)),
            series("pruned layers", Colour::Convolution, &|row| ours(row) && !dense(row)),
            series("whole networks", Colour::Gemm, &|row| row.measure == Measure::Network),
        ];
        let series: Vec<_> = series.into_iter().filter(|series| !series.values.is_empty()).collect();
        let title = format!("Roofline, {}", count(threads, "thread"));
        (!series.is_empty()).then(|| charts::roofline(&title, &roof, &series))
    };
    let figures: Vec<Part> = threads.iter().filter_map(figure).map(Part::Figure).collect();
    let text = "Rates of multiply-adds, two operations each, over operations per byte that has to be read or written. Lines are what the \
                machine can do: its best burst of multiply-adds, and its best reads from a cache and from memory. Winograd's method needs fewer \
                multiply-adds than are counted, so its points can lie above.";
    let parts = [Part::Text(text.to_owned())].into_iter().chain(figures).collect::<Vec<_>>();
    (parts.len() > 1).then(|| Section { title: "What the machine sets".to_owned(), parts })
}

/// What moved since `old`, first what became slower.
pub fn changes(old: &Record, new: &Record) -> Section {
    let mut changes = compare::changes(old, new);
    changes.sort_by(|a, b| b.ratio().total_cmp(&a.ratio()));
    let count = |verdict| changes.iter().filter(|change| change.verdict == verdict).count();
    let [slower, faster, same, unclear] = [Verdict::Slower, Verdict::Faster, Verdict::Same, Verdict::Unclear].map(count);
    let text = format!(
        "Of {} measurements in both records {slower} became slower, {faster} faster, {same} stayed as they were, and {unclear} have fewer \
         than {} quiet samples. Moved means that medians differ by more than {} and that the ranges between the quartiles do not overlap.",
        changes.len(),
        compare::LEAST_QUIET,
        percent(compare::NOISE)
    );
    let headings = ["measurement", "verdict", "old us", "new us", "new of old", "old spread", "new spread"];
    let mut table = Table::new("What moved", &headings, 2);
    let moved = changes.iter().filter(|change| matches!(change.verdict, Verdict::Slower | Verdict::Faster));
    let row = |change: &compare::Change| {
        let verdict = if change.verdict == Verdict::Slower { "slower" } else { "faster" };
        vec![
            change.new.name(),
            verdict.to_owned(),
            microseconds(change.old.median_us),
            microseconds(change.new.median_us),
            percent(change.ratio()),
            percent(change.old.spread()),
            percent(change.new.spread()),
        ]
    };
    table.rows = moved.map(row).collect();
    let table = (!table.rows.is_empty()).then_some(Part::Table(table));
    let machines = compare::machines(old, new);
    let machines = (!machines.is_empty()).then(|| {
        let differ = machines.join("; ");
        Part::Text(format!("The records are of different machines, and what moved may have moved with them: {differ}."))
    });
    let parts = [Part::Text(text)].into_iter().chain(machines).chain(table).collect();
    Section { title: "Against an older record".to_owned(), parts }
}

fn beside_peers(peers: &Peers, rows: &[Row]) -> Section {
    let names: BTreeSet<&str> = peers.results.values().flat_map(|model| model.peers.keys()).map(String::as_str).collect();
    // In a session that sslm took part in, times are comparable; the record's are from another one.
    let together = names.contains(OWN_NAME);
    let comparable = match together {
        true => "sslm took part in it, in turns with the others.",
        false => {
            "sslm's are the record's: they can be compared only where both were taken on the same machine under the same load, which this \
             report cannot know."
        }
    };
    let runtimes: BTreeSet<&str> = names.iter().map(|name| name.strip_suffix(PAUSED).unwrap_or(name)).collect();
    let version = |name: &&str| match peers.versions.get(*name) {
        Some(version) => format!("{name} {version}"),
        None => format!("{name}, whose version was not recorded"),
    };
    let versions = runtimes.iter().map(version).collect::<Vec<_>>().join("; ");
    let mut parts = vec![
        Part::Text(format!("Medians in ms, of one session ({}). {comparable}", peers.args)),
        Part::Text(format!("What was timed: {versions}.")),
    ];
    // A session may have called peers in two patterns, which are not to be compared with each other.
    let both = names.iter().any(|name| name.ends_with(PAUSED));
    let patterns: &[(&str, &str)] =
        if both { &[("", ", back to back"), (PAUSED, ", each call after a pause")] } else { &[("", "")] };
    for &(ending, pattern) in patterns {
        let called_so = names.iter().filter_map(|name| name.strip_suffix(ending));
        let called_so = called_so.filter(|&name| name != OWN_NAME && !name.ends_with(PAUSED));
        // Of sslm by lower instruction sets, nothing is said but its times.
        let (lower, others): (Vec<&str>, Vec<&str>) = called_so.partition(|name| name.starts_with(OWN_NAME));
        for threads in [1, 2] {
            let headings = ["model", "fastest of the others", "it takes", OWN_NAME].iter().chain(&lower).chain(&others);
            let headings: Vec<&str> = headings.copied().collect();
            let mut table = Table::new(format!("Other runtimes, {}{pattern}", count(threads, "thread")), &headings, 2);
            for (name, model) in &peers.results {
                let time = |peer: &str| model.peers.get(&format!("{peer}{ending}"))?.get(&format!("t{threads}"))?.ms;
                let own = if together { time(OWN_NAME) } else { recorded(name, threads, rows).filter(|_| ending.is_empty()) };
                let times_of = |peers: &[&str]| -> Vec<Option<f64>> { peers.iter().map(|peer| time(peer)).collect() };
                let theirs = times_of(&others);
                let known = others.iter().zip(&theirs).filter_map(|(peer, ms)| Some((*peer, (*ms)?)));
                let Some((fastest, ms)) = known.min_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
                let ratio = own.map_or("-".to_owned(), |own| times(ms / own));
                let cells = [own]
                    .into_iter()
                    .chain(times_of(&lower))
                    .chain(theirs)
                    .map(|ms| ms.map_or("-".to_owned(), |ms| format!("{ms:.3}")));
                table.rows.push([name.clone(), fastest.to_owned(), ratio].into_iter().chain(cells).collect());
            }
            if !table.rows.is_empty() {
                parts.push(Part::Table(table));
            }
        }
    }
    Section { title: "Other runtimes".to_owned(), parts }
}

/// What the harness calls sslm, and how it begins what it calls sslm by lower instruction sets.
const OWN_NAME: &str = "sslm";

/// Ends the name of a peer whose calls came after pauses.
const PAUSED: &str = "-paused";

/// Milliseconds that a model of the harness took in a record.
fn recorded(model: &str, threads: usize, rows: &[Row]) -> Option<f64> {
    let (net, layer, form, batch) = peers::known_as(model)?;
    let same = |row: &&Row| {
        row.net.to_lowercase().replace('-', "") == net
            && row.layer == layer
            && row.form == form
            && row.batch == batch
            && row.threads == threads
            && row.beside.is_empty()
            && matches!(row.measure, Measure::Convolution | Measure::Network)
    };
    Some(rows.iter().find(same)?.median_us / 1e3)
}

fn all(compared: &[Compared<'_>]) -> Section {
    let headings = [&["net", "layer", "measure", "form", "kernel", "threads", "batch"], &TIME_HEADINGS[1..]].concat();
    let mut table = Table::new("Everything that was measured", &headings, 5);
    table.long = true;
    for compared in compared {
        let row = compared.row;
        let names = [&row.net, &row.layer, &row.measure.to_string(), &row.form].map(String::clone);
        let counts = [row.threads, row.batch].map(|count| count.to_string());
        let [kernel, times @ ..] = time_cells(compared);
        table.rows.push(names.into_iter().chain([kernel]).chain(counts).chain(times).collect());
    }
    Section { title: "All measurements".to_owned(), parts: vec![Part::Table(table)] }
}

fn conditions(record: &Record) -> Section {
    let text = "Threads are pinned, one to a core. A sample counts as quiet if short bursts of multiply-adds before and after it ran at full \
                speed, and no thread had to wait for a core; medians, quartiles and spread (the distance of the quartiles) are of quiet \
                samples alone where there are any. Floors are the larger of two times: all multiply-adds at the rate of the best burst, and all \
                bytes at the rate of the best read. Baselines are timed in turns with each form that is compared with them.";
    let mut table = Table::new("Machine, versions and commands", &["what", "value"], 2);
    table.rows = record.notes.iter().map(|(key, value)| vec![key.clone(), value.clone()]).collect();
    Section { title: "Machine and method".to_owned(), parts: vec![Part::Text(text.to_owned()), Part::Table(table)] }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn microseconds(us: f64) -> String {
    if us < 100.0 { format!("{us:.2}") } else { format!("{us:.0}") }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
