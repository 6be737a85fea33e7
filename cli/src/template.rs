//! `--format`: the part of Go's templates that scripts use with docker. Text, `{{.Path.To.Field}}`, `{{json .Path}}`,
//! `{{index .Path "key"}}`, `{{len .Path}}`, `{{upper .X}}`, `{{lower .X}}`, `{{range .Path}}…{{end}}`, `{{if .X}}…{{else}}…{{end}}`, and
//! `json` alone. Anything else is an error that names it.

use serde_json::Value;

use crate::error::CliError;

enum Node {
    Text(String),
    Show(Expression),
    Range(Expression, Vec<Node>),
    If(Expression, Vec<Node>, Vec<Node>),
}

struct Expression {
    function: Option<String>,
    path: Vec<String>,
    key: Option<Value>,
}

/// A template that has been read.
pub(crate) struct Template(Vec<Node>);

fn error(message: impl Into<String>) -> CliError {
    CliError::Template(message.into())
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, CliError> {
        if text == "json" {
            let whole = Expression { function: Some("json".to_owned()), path: vec![], key: None };
            return Ok(Self(vec![Node::Show(whole)]));
        }
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let (nodes, rest, end) = parse_nodes(&text)?;
        if !rest.is_empty() || end.is_some() {
            return Err(error(format!("unexpected {{{{{}}}}}", end.unwrap_or_default())));
        }
        Ok(Self(nodes))
    }

    /// Fills a template in.
    pub(crate) fn render(&self, value: &Value) -> Result<String, CliError> {
        let mut out = String::new();
        render_nodes(&self.0, value, &mut out)?;
        Ok(out)
    }
}

type Parsed<'a> = (Vec<Node>, &'a str, Option<String>);

fn parse_nodes(mut text: &str) -> Result<Parsed<'_>, CliError> {
    let mut nodes = Vec::new();
    while let Some(start) = text.find("{{") {
        if start > 0 {
            nodes.push(Node::Text(text[..start].to_owned()));
        }
        let rest = &text[start + 2..];
        let end = rest.find("}}").ok_or_else(|| error("unclosed {{"))?;
        let inner = rest[..end].trim().trim_start_matches('-').trim_end_matches('-').trim();
        text = &rest[end + 2..];
        if inner == "end" || inner == "else" {
            return Ok((nodes, text, Some(inner.to_owned())));
        }
        let (word, argument) = inner.split_once(' ').unwrap_or((inner, ""));
        match word {
            "range" => {
                let (body, rest, end) = parse_nodes(text)?;
                expect_end(end.as_deref(), "end")?;
                text = rest;
                nodes.push(Node::Range(expression(argument)?, body));
            }
            "if" => {
                let (then, rest, end) = parse_nodes(text)?;
                text = rest;
                let mut otherwise = Vec::new();
                if end.as_deref() == Some("else") {
                    let (body, rest, end) = parse_nodes(text)?;
                    expect_end(end.as_deref(), "end")?;
                    (otherwise, text) = (body, rest);
                } else {
                    expect_end(end.as_deref(), "end")?;
                }
                nodes.push(Node::If(expression(argument)?, then, otherwise));
            }
            _ => nodes.push(Node::Show(expression(inner)?)),
        }
    }
    if !text.is_empty() {
        nodes.push(Node::Text(text.to_owned()));
    }
    Ok((nodes, "", None))
}

fn expect_end(found: Option<&str>, wanted: &str) -> Result<(), CliError> {
    if found == Some(wanted) { Ok(()) } else { Err(error(format!("missing {{{{{wanted}}}}}"))) }
}

fn expression(text: &str) -> Result<Expression, CliError> {
    let text = text.trim();
    if text.starts_with('.') {
        return Ok(Expression { function: None, path: path(text)?, key: None });
    }
    let (function, argument) = text.split_once(' ').unwrap_or((text, ""));
    if !["json", "index", "len", "upper", "lower", "println"].contains(&function) {
        return Err(error(format!(
            "function {function:?} is not known; json, index, len, upper, lower, range and if are"
        )));
    }
    let argument = argument.trim();
    let (target, key) = match argument.split_once(' ') {
        Some((target, key)) => (
            target,
            Some(
                serde_json::from_str(key.trim())
                    .map_err(|_| error(format!("index {key}: a string in quotes or a number")))?,
            ),
        ),
        None => (argument, None),
    };
    Ok(Expression { function: Some(function.to_owned()), path: path(target)?, key })
}

fn path(text: &str) -> Result<Vec<String>, CliError> {
    let inner = text.strip_prefix('.').ok_or_else(|| error(format!("{text:?}: a field starts with a dot")))?;
    Ok(inner.split('.').filter(|p| !p.is_empty()).map(str::to_owned).collect())
}

fn look<'a>(path: &[String], value: &'a Value) -> Result<&'a Value, CliError> {
    let mut at = value;
    for name in path {
        at = match at {
            Value::Object(map) => map.get(name).unwrap_or(&Value::Null),
            Value::Null => &Value::Null,
            _ => return Err(error(format!("{name:?} is a field of something that has no fields"))),
        };
    }
    Ok(at)
}

fn evaluate(expression: &Expression, value: &Value) -> Result<Value, CliError> {
    let target = look(&expression.path, value)?;
    Ok(match expression.function.as_deref() {
        None | Some("println") => target.clone(),
        Some("json") => Value::String(target.to_string()),
        Some("len") => match target {
            Value::Array(a) => a.len().into(),
            Value::Object(o) => o.len().into(),
            Value::String(s) => s.len().into(),
            _ => 0.into(),
        },
        Some("upper") => Value::String(show(target).to_uppercase()),
        Some("lower") => Value::String(show(target).to_lowercase()),
        Some("index") => match &expression.key {
            Some(Value::String(key)) => target.get(key).cloned().unwrap_or(Value::Null),
            Some(Value::Number(n)) => {
                let at = n.as_u64().and_then(|n| usize::try_from(n).ok());
                at.and_then(|at| target.get(at)).cloned().ok_or_else(|| error(format!("index out of range: {n}")))?
            }
            _ => return Err(error("index needs a key")),
        },
        Some(other) => return Err(error(format!("function {other:?} is not known"))),
    })
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(s) => s.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", show(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

fn render_nodes(nodes: &[Node], value: &Value, out: &mut String) -> Result<(), CliError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Show(expression) => {
                out.push_str(&show(&evaluate(expression, value)?));
                if expression.function.as_deref() == Some("println") {
                    out.push('\n');
                }
            }
            Node::Range(expression, body) => match evaluate(expression, value)? {
                Value::Array(items) => items.iter().try_for_each(|item| render_nodes(body, item, out))?,
                Value::Object(map) => map.values().try_for_each(|item| render_nodes(body, item, out))?,
                _ => {}
            },
            Node::If(expression, then, otherwise) => {
                let branch = if truthy(&evaluate(expression, value)?) { then } else { otherwise };
                render_nodes(branch, value, out)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in() {
        let value = serde_json::json!({"A": {"B": "x", "N": 3, "E": {}}, "L": [{"I": 1}, {"I": 2}], "P": {"80/tcp": [{"HostPort": "8080"}]}});
        for (template, text) in [
            ("{{.A.B}}", "x"),
            ("{{ .A.N }}\\t{{.A.Missing}}", "3\t<no value>"),
            ("{{json .L}}", r#"[{"I":1},{"I":2}]"#),
            ("{{range .L}}{{.I}},{{end}}", "1,2,"),
            ("{{if .A.E}}yes{{else}}no{{end}}", "no"),
            ("{{len .L}}", "2"),
            ("{{range (index .P \"80/tcp\")}}{{end}}", ""),
            ("{{json .A.E}}", "{}"),
        ] {
            let rendered = Template::parse(template).and_then(|t| t.render(&value));
            if template.contains('(') {
                assert!(rendered.is_err(), "nested calls are refused by name");
                continue;
            }
            assert_eq!(rendered.expect(template), text, "{template}");
        }
        for bad in ["{{", "{{foo .A}}", "{{range .L}}", "{{end}}", "{{.A.B.C}}"] {
            assert!(Template::parse(bad).and_then(|t| t.render(&value)).is_err(), "{bad}");
        }
    }
}
