//! Where in the file does each value stand?
//!
//! The file is read once into a tree that remembers lines and columns. Typed values are made from parts of the tree,
//! so that a mistake in one part hides none in another, and every problem can be shown where it is.

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;
use std::fmt;

/// A place in the file, both from 1; 0 where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

impl Place {
    fn of<T>(spanned: &Spanned<T>) -> Self {
        Self { line: spanned.referenced.line(), column: spanned.referenced.column() }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// It was found wrong, or is read elsewhere: as if it were not there.
    pub left_out: bool,
    /// What it is.
    pub content: Content,
}

/// What a [`Node`] is.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A number, text, truth value or nothing.
    Scalar(Value),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping; each key with its place, in the order of the file.
    Map(Vec<(String, Place, Node)>),
}

/// One step into the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a sequence; elements left out do not count.
    Index(usize),
}

impl Node {
    /// The entries of a mapping; none of anything else.
    pub fn entries(&self) -> &[(String, Place, Node)] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key that is not left out.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(k, _, node)| k == key && !node.left_out).map(|(_, _, node)| node)
    }

    /// Takes the value of a key out.
    pub fn take(&mut self, key: &str) -> Option<Node> {
        let Content::Map(entries) = &mut self.content else { return None };
        let index = entries.iter().position(|(k, _, _)| k == key)?;
        Some(entries.remove(index).2)
    }

    /// Leaves the value of a key out, whether it is there or not.
    pub fn leave_out(&mut self, key: &str) {
        let place = self.place;
        if let Content::Map(entries) = &mut self.content {
            match entries.iter_mut().find(|(k, _, _)| k == key) {
                Some((_, _, node)) => node.left_out = true,
                None => {
                    let node = Self { place, left_out: true, content: Content::Scalar(Value::Null) };
                    entries.push((key.into(), place, node));
                }
            }
        }
    }

    /// As JSON, without what is left out.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(nodes) => {
                Value::Array(nodes.iter().filter(|n| !n.left_out).map(Node::to_json).collect())
            }
            Content::Map(entries) => Value::Object(
                entries
                    .iter()
                    .filter(|(_, _, node)| !node.left_out)
                    .map(|(key, _, node)| (key.clone(), node.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// The place of the deepest thing on the path: of a key where there is one.
    pub fn place_of(&self, path: &[Step]) -> Place {
        let mut node = self;
        let mut place = self.place;
        for step in path {
            match (step, &node.content) {
                (Step::Key(key), Content::Map(entries)) => match entries.iter().find(|(k, _, _)| k == key) {
                    Some((_, at, child)) => (place, node) = (*at, child),
                    None => return place,
                },
                (Step::Index(index), Content::List(nodes)) => {
                    match nodes.iter().filter(|n| !n.left_out).nth(*index) {
                        Some(child) => (place, node) = (child.place, child),
                        None => return place,
                    }
                }
                _ => return place,
            }
        }
        place
    }

    /// The thing at the end of the path.
    pub fn at_mut(&mut self, path: &[Step]) -> Option<&mut Node> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        let child = match (first, &mut self.content) {
            (Step::Key(key), Content::Map(entries)) => {
                entries.iter_mut().find(|(k, _, node)| k == key && !node.left_out).map(|(_, _, node)| node)
            }
            (Step::Index(index), Content::List(nodes)) => {
                nodes.iter_mut().filter(|n| !n.left_out).nth(*index)
            }
            _ => None,
        };
        child?.at_mut(rest)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { place: Place::of(&spanned), left_out: false, content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Content, E> {
        let number = Number::from_f64(value)
            .ok_or_else(|| E::custom(format!("{value} is not a number that can be meant")))?;
        Ok(Content::Scalar(Value::Number(number)))
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }
    fn visit_unit<E: de::Error>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }
    fn visit_none<E: de::Error>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = seq.next_element()? {
            nodes.push(node);
        }
        Ok(Content::List(nodes))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let place = Place::of(&key);
            entries.push((key.value, place, map.next_value()?));
        }
        Ok(Content::Map(entries))
    }
}
