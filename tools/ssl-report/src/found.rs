//! What a record found, in three sentences at the top of its page: how small networks became, how fast, and how sure that is.

use crate::document::{Part, Section};
use crate::gains::{self, Compared, Gain, Means, Over};
use crate::paper;
use crate::record::{Measure, Record};

/// The three sentences.
pub(crate) fn section(record: &Record, compared: &[Compared<'_>]) -> Section {
    let (layers, networks) = (paper_layers(compared), whole_networks(compared));
    let sentences = [how_small(layers.as_ref(), &networks), how_fast(layers.as_ref(), &networks), how_sure(record)];
    Section { title: "What was found".to_owned(), parts: sentences.map(Part::Text).into() }
}

/// The layers of one of the paper's entries: what they are, and what they gain on one image and one thread.
struct Layers {
    name: String,
    measure: Measure,
    gains: Vec<Gain>,
}

/// The first entry that was timed, by whole layers rather than by matrix products, with columns that lie as the paper leaves them rather
/// than otherwise.
fn paper_layers(compared: &[Compared<'_>]) -> Option<Layers> {
    let by_form = gains::by_form(compared);
    let timed = |entry: &paper::Entry, measure: Measure, details: &[&str]| {
        let found = by_form.iter().find(|((net, of, form, threads, batch), gains)| {
            let detail = form.strip_prefix(&entry.form).unwrap_or_default();
            let is_one = (*threads, *batch) == (1, 1) && *of == measure;
            is_one && entry.covers(net, form) && details.contains(&detail) && !gains.is_empty()
        });
        let name = entry.title.split(": ").next().unwrap_or_default();
        found.map(|(_, gains)| Layers { name: name.to_owned(), measure, gains: gains.clone() })
    };
    let entries = paper::entries();
    let mut ways =
        [Measure::Convolution, Measure::Gemm].into_iter().flat_map(|measure| entries.iter().map(move |e| (e, measure)));
    ways.find_map(|(entry, measure)| timed(entry, measure, &["", ", random"]))
}

/// What pruned networks gain over the same ones dense, one image, one thread.
fn whole_networks(compared: &[Compared<'_>]) -> Vec<Gain> {
    let networks = compared.iter().filter(|c| c.row.measure == Measure::Network && (c.row.threads, c.row.batch) == (1, 1));
    networks.filter_map(Compared::gain).filter(|gain| gain.work > 1.0).collect()
}

fn how_small(layers: Option<&Layers>, networks: &[Gain]) -> String {
    let layers = layers.and_then(|layers| {
        let Means { weighted, .. } = gains::means(layers.gains.iter().map(|gain| (gain.macs, gain.work)))?;
        Some(format!("the layers of {} have {weighted:.2} times fewer multiply-accumulates than dense", layers.name))
    });
    let networks = range(networks, |gain| gain.work).map(|range| format!("whole pruned networks have {range} times fewer"));
    sentence("How small", [layers, networks], "nothing that was pruned was timed beside its dense form without disturbance")
}

fn how_fast(layers: Option<&Layers>, networks: &[Gain]) -> String {
    let layers = layers.and_then(|Layers { measure, gains, .. }| {
        let mean = |over| gains::means(gains.iter().map(|gain| (gain.macs, gain.time(over)))).map(|means| means.weighted);
        let (first, fastest) = (mean(Over::First)?, mean(Over::Fastest)?);
        let fastest = if *measure == Measure::Convolution {
            format!(" by plain sums, and {fastest:.2} times as fast as by the fastest dense method")
        } else {
            String::new()
        };
        Some(format!("on one image and one thread those layers are {first:.2} times as fast as dense{fastest} ({measure})"))
    });
    let networks =
        range(networks, |gain| gain.time(Over::First)).map(|range| format!("whole networks are {range} times as fast"));
    sentence("How fast", [layers, networks], "nothing can be said")
}

fn how_sure(record: &Record) -> String {
    let rows: Vec<_> = record.rows.iter().filter(|row| row.beside.is_empty()).collect();
    let mut spreads: Vec<f64> = rows.iter().filter(|row| row.quiet > 0).map(|row| row.spread()).collect();
    spreads.sort_by(f64::total_cmp);
    let typical = spreads.get(spreads.len() / 2).map(|spread| {
        format!(", in half of which the middle half of the samples lies within {:.1} % of the median or less", spread * 100.0)
    });
    let quiet = format!(
        "{} of {} measurements have samples that nobody disturbed{}",
        spreads.len(),
        rows.len(),
        typical.unwrap_or_default()
    );
    sentence("How sure", [Some(quiet), Some("nothing is concluded from the others".to_owned())], "")
}

/// From the least to the greatest of a figure.
fn range(gains: &[Gain], figure: fn(&Gain) -> f64) -> Option<String> {
    let least = gains.iter().map(figure).reduce(f64::min)?;
    let greatest = gains.iter().map(figure).reduce(f64::max)?;
    Some(if gains.len() == 1 { format!("{least:.2}") } else { format!("{least:.2} to {greatest:.2}") })
}

fn sentence(question: &str, parts: [Option<String>; 2], otherwise: &str) -> String {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{question}: {}.", if parts.is_empty() { otherwise.to_owned() } else { parts.join("; ") })
}
