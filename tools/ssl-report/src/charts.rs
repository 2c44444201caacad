//! Figures as inline SVG. Colours are placeholders that the page's style sheet replaces, so that a figure is light or dark as the page is.

use crate::document::Figure;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::ops::Range;

/// What a series is of, so that all figures show it in the same colour: a placeholder of red alone, counted from 1, which the style
/// sheet knows as `--series-0` and so on.
#[derive(Clone, Copy)]
pub(crate) enum Colour {
    Work,
    Paper,
    Gemm,
    Library,
    Convolution,
    Least,
}

impl Colour {
    fn placeholder(self) -> RGBColor {
        RGBColor(self as u8 + 1, 0, 0)
    }
}

/// A placeholder for the colour of grids.
const GRID: RGBColor = RGBColor(7, 0, 0);

/// So narrow that letters stay legible on a phone.
const SIZE: (u32, u32) = (480, 300);

const FONT: (&str, u32) = ("sans-serif", 15);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Values of a name.
pub(crate) struct Series<T> {
    pub(crate) name: String,
    pub(crate) colour: Colour,
    pub(crate) values: Vec<T>,
}

/// Bars that begin at 0: for each label one bar of each series, side by side. `unit` is written on their axis.
pub(crate) fn bars(title: &str, unit: &str, labels: &[String], series: &[Series<Option<f64>>]) -> Figure {
    let highest = series.iter().flat_map(|series| &series.values).flatten().fold(1.0, |a: f64, b| a.max(*b));
    let values = |series: &Series<_>| {
        let value = |(label, value): (&String, &Option<f64>)| Some(format!("{label} {:.2}", (*value)?));
        let values: Vec<String> = labels.iter().zip(&series.values).filter_map(value).collect();
        format!("{}: {}.", series.name, values.join(", "))
    };
    let svg = draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(24)
            .x_label_area_size(24)
            .y_label_area_size(50)
            .build_cartesian_2d(0.0..labels.len() as f64, 0.0..highest * 1.08)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .y_labels(6)
            .y_desc(unit)
            .label_style(FONT)
            .axis_desc_style(FONT)
            .draw()?;
        let width = 0.8 / series.len() as f64;
        for (i, series) in series.iter().enumerate() {
            let bar = |(label, value): (usize, &Option<f64>)| {
                let left = label as f64 + 0.1 + width * i as f64;
                Some(Rectangle::new([(left, 0.0), (left + width * 0.92, (*value)?)], series.colour.placeholder().filled()))
            };
            chart.draw_series(series.values.iter().enumerate().filter_map(bar))?;
        }
        let (plot, style) = (chart.plotting_area(), centred());
        for (label, name) in labels.iter().enumerate() {
            let (x, y) = plot.map_coordinate(&(label as f64 + 0.5, 0.0));
            area.draw(&Text::new(name.clone(), (x, y + 6), style.clone()))?;
        }
        Ok(())
    });
    Figure {
        title: title.to_owned(),
        description: format!("Bars, {unit}. {}", series.iter().map(values).collect::<Vec<_>>().join(" ")),
        svg,
        legend: legend(series),
    }
}

/// What a machine can do.
pub(crate) struct Roof {
    /// Operations in 1e9 per second.
    pub(crate) peak: f64,
    /// Rates of reading: from where, in 1e9 bytes per second.
    pub(crate) reads: Vec<(String, f64)>,
}

/// Points are (operations per byte, operations in 1e9 per second) under the roofs of the machine.
pub(crate) fn roofline(title: &str, roof: &Roof, series: &[Series<(f64, f64)>]) -> Figure {
    let points = || series.iter().flat_map(|series| &series.values);
    let around = |values: &mut dyn Iterator<Item = f64>| -> Range<f64> {
        let (low, high) = values.fold((f64::INFINITY, 0f64), |(low, high), value| (low.min(value), high.max(value)));
        10f64.powf(low.log10().floor())..10f64.powf(high.log10().ceil())
    };
    let x = around(&mut points().map(|point| point.0));
    let y = around(&mut points().map(|point| point.1).chain([roof.peak]));
    let svg = draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(24)
            .x_label_area_size(44)
            .y_label_area_size(60)
            .build_cartesian_2d(x.clone().log_scale(), y.clone().log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .x_labels(5)
            .y_labels(5)
            .x_label_formatter(&|x| format!("{x}"))
            .y_label_formatter(&|y| format!("{y}"))
            .x_desc("operations per byte")
            .y_desc("Gop/s")
            .label_style(FONT)
            .axis_desc_style(FONT)
            .draw()?;
        for (_, rate) in &roof.reads {
            // From the left edge or the bottom to where operations are the limit.
            let from = x.start.max(y.start / rate);
            let roof = [(from, from * rate), (roof.peak / rate, roof.peak), (x.end, roof.peak)];
            chart.draw_series(LineSeries::new(roof.into_iter().filter(|point| point.0 <= x.end), BLACK.stroke_width(1)))?;
        }
        for series in series {
            chart.draw_series(series.values.iter().map(|&point| Circle::new(point, 4, series.colour.placeholder().filled())))?;
        }
        Ok(())
    });
    let reads: Vec<String> = roof.reads.iter().map(|(from, rate)| format!("{rate:.0} GB/s from {from}")).collect();
    let counts: Vec<String> = series.iter().map(|series| format!("{} points: {}", series.values.len(), series.name)).collect();
    Figure {
        title: title.to_owned(),
        description: format!("A roof of {:.0} Gop/s and {}; {}.", roof.peak, reads.join(", "), counts.join("; ")),
        svg,
        legend: legend(series),
    }
}

fn legend<T>(series: &[Series<T>]) -> Vec<(usize, String)> {
    series.iter().map(|series| (series.colour as usize, series.name.clone())).collect()
}

fn centred() -> TextStyle<'static> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    TextStyle::from(FONT).pos(Pos::new(HPos::Center, VPos::Top))
}

/// What `paint` paints, without the outer element, which the page brings.
fn draw(paint: impl Fn(&Area<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    let painted = {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        paint(&area).and_then(|()| Ok(area.present()?))
    };
    painted.expect("strings can be drawn into");
    let inside = svg.find('>').map_or(0, |end| end + 1)..svg.rfind("</svg>").unwrap_or(svg.len());
    svg[inside].to_owned()
}

/// Errors of the drawing's coordinates.
pub(crate) const VIEW_BOX: (u32, u32) = SIZE;
