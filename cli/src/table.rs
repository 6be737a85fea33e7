//! Columns as docker lays them out: at least ten wide, three spaces between.

/// Lays out rows below their headings.
pub(crate) fn render(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0) + 3
    };
    let widths: Vec<usize> = (0..headings.len()).map(|c| width(c).max(10)).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: String = cells.zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        padded.trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut headings.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns() {
        let rows = [vec!["a".to_owned(), "long value".to_owned()], vec!["bcdefghijk".to_owned(), String::new()]];
        assert_eq!(render(&["X", "YY"], &rows), "X            YY\na            long value\nbcdefghijk\n");
    }
}
