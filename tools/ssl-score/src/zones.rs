//! Times of a zone that has a name, in formats of text. What their writers show is an offset, and which one a zone has at a time stands in
//! tables that are not in this program: so they are written in UTC, which is the same instant.

use anyhow::Result;
use arrow_array::ArrayRef;
use arrow_array::timezone::Tz;
use arrow_cast::cast;
use arrow_schema::{DataType, Field};
use std::sync::Arc;

/// UTC as an offset.
const UTC: &str = "+00:00";

/// Whether the writers of text know no offset of these times.
fn is_of_named_zone(of: &DataType) -> bool {
    matches!(of, DataType::Timestamp(_, Some(zone)) if zone.parse::<Tz>().is_err())
}

/// The column that text has in the place of this one.
pub(crate) fn as_text(field: Field) -> Field {
    match field.data_type() {
        DataType::Timestamp(unit, _) if is_of_named_zone(field.data_type()) => {
            let utc = DataType::Timestamp(*unit, Some(UTC.into()));
            field.with_data_type(utc)
        }
        _ => field,
    }
}

/// What a column becomes that stands for this one.
pub(crate) fn column(column: ArrayRef, field: &Field) -> Result<ArrayRef> {
    let is_other = is_of_named_zone(column.data_type()) && column.data_type() != field.data_type();
    if is_other { Ok(cast(&column, field.data_type())?) } else { Ok(column) }
}

/// A named zone of times that lie within lists, structures and the like, where they are not written in another one.
pub(crate) fn within(of: &DataType) -> Option<Arc<str>> {
    let each = |field: &Field| match field.data_type() {
        DataType::Timestamp(_, Some(zone)) if is_of_named_zone(field.data_type()) => Some(Arc::clone(zone)),
        other => within(other),
    };
    match of {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _)
        | DataType::RunEndEncoded(_, item) => each(item),
        DataType::Struct(fields) => fields.iter().find_map(|field| each(field)),
        DataType::Union(fields, _) => fields.iter().find_map(|(_, field)| each(field)),
        DataType::Dictionary(_, values) => each(&Field::new("values", (**values).clone(), true)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Array, TimestampMicrosecondArray};
    use arrow_schema::TimeUnit;

    fn time(zone: Option<&str>) -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into))
    }

    #[test]
    fn named_zones_become_utc_and_others_stay() {
        for (zone, expected) in [
            (None, None),
            (Some("+02:00"), Some("+02:00")),
            (Some("UTC"), Some(UTC)),
            (Some("Europe/Berlin"), Some(UTC)),
            (Some("nowhere"), Some(UTC)),
        ] {
            let found = as_text(Field::new("t", time(zone), true));
            assert_eq!(*found.data_type(), time(expected), "{zone:?}");
            let times = TimestampMicrosecondArray::from(vec![Some(5), None]).with_timezone_opt(zone);
            let times = column(Arc::new(times), &found).expect("the same instants");
            assert_eq!((times.data_type(), times.null_count()), (&time(expected), 1), "{zone:?}");
        }
    }

    #[test]
    fn zones_are_found_at_any_depth() {
        let of = |zone| DataType::Struct(vec![Field::new("t", time(zone), true)].into());
        let list = |zone| DataType::new_list(of(zone), true);
        assert_eq!(within(&time(Some("UTC"))), None, "it is not within");
        assert_eq!((within(&list(Some("+01:00"))), within(&list(None))), (None, None));
        assert_eq!(within(&list(Some("UTC"))).as_deref(), Some("UTC"));
    }
}
