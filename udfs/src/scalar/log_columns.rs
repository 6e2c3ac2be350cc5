//! The text that describes the columns of a log line (kda-sql-reference.md §5.9):
//!
//! ```text
//! columns     = description { "," description }
//! description = name "TYPE" data-type [ "NOT" "NULL" ] [ format ] [ "START" n [ "FOR" m ] ]
//! ```
//!
//! Names are folded to capital letters unless they stand in double quotes. A format, which is a text, is a pattern of
//! `SimpleDateFormat` (date_pattern.rs) for a DATE, TIME or TIMESTAMP; without one its values have the forms of CAST.

use arrow::error::ArrowError;

use super::date_pattern::Pattern;
use crate::sql_type::{CHARACTER_LENGTH_MAX, SqlType};

/// The length of the fields COLUMN1, COLUMN2, … (§5.9).
const DEFAULT_LENGTH: u32 = 1024;
/// More fields than a line can sensibly have; it guards against a number typed wrong.
const COLUMNS_MAX: i64 = 1_000;

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub name: String,
    pub sql_type: SqlType,
    pub is_nullable: bool,
    /// How a DATE, TIME or TIMESTAMP is written, if not as in CAST.
    pub format: Option<Pattern>,
    /// START, 0-based, and FOR, both in characters.
    pub place: Option<(usize, Option<usize>)>,
}

/// COLUMN1 to COLUMNn, VARCHAR(1024).
pub(super) fn numbered(count: i64) -> Result<Vec<Column>, String> {
    if !(1..=COLUMNS_MAX).contains(&count) {
        return Err(format!("a log line can have 1 to {COLUMNS_MAX} columns, not {count}"));
    }
    let column = |number: i64| Column {
        name: format!("COLUMN{number}"),
        sql_type: SqlType::Varchar(DEFAULT_LENGTH),
        is_nullable: true,
        format: None,
        place: None,
    };
    Ok((1..=count).map(column).collect())
}

/// The columns of a description; `with_places` says whether each needs START.
pub(super) fn described(text: &str, with_places: bool) -> Result<Vec<Column>, String> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0 };
    let mut columns: Vec<Column> = Vec::new();
    loop {
        let column = parser.column(with_places)?;
        if columns.iter().any(|other| other.name == column.name) {
            return Err(format!("the column {} is described twice", column.name));
        }
        columns.push(column);
        if parser.at == parser.tokens.len() {
            return Ok(columns);
        }
        parser.expect(",")?;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Text(String),
    Sign(char),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            _ if next.is_whitespace() => {}
            '"' | '\'' => {
                let mut content = String::new();
                loop {
                    match rest.next() {
                        Some(end) if end == next && rest.next_if_eq(&next).is_none() => break,
                        Some(character) => content.push(character),
                        None => return Err(format!("a {next} is not closed in the columns '{text}'")),
                    }
                }
                tokens.push(if next == '"' { Token::Quoted(content) } else { Token::Text(content) });
            }
            _ if next.is_alphanumeric() || next == '_' => {
                let mut word = next.to_string();
                while let Some(more) = rest.next_if(|more| more.is_alphanumeric() || *more == '_') {
                    word.push(more);
                }
                tokens.push(Token::Word(word.to_uppercase()));
            }
            sign => tokens.push(Token::Sign(sign)),
        }
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn column(&mut self, with_places: bool) -> Result<Column, String> {
        let name = match self.tokens.get(self.at) {
            Some(Token::Word(name) | Token::Quoted(name)) => name.clone(),
            _ => return Err(self.unexpected("the name of a column")),
        };
        self.at += 1;
        self.expect("TYPE")?;
        let sql_type = self.sql_type()?;
        let is_nullable = !self.next_is("NOT");
        if !is_nullable {
            self.expect("NULL")?;
        }
        let format = self.format(&name, sql_type)?;
        let place = if with_places {
            self.expect("START")?;
            let start = self.number("the place where the column starts")?;
            let length = if self.next_is("FOR") { Some(self.number("the length of the column")? as usize) } else { None };
            Some((start as usize, length))
        } else {
            None
        };
        Ok(Column { name, sql_type, is_nullable, format, place })
    }

    fn format(&mut self, column: &str, sql_type: SqlType) -> Result<Option<Pattern>, String> {
        let Some(Token::Text(format)) = self.tokens.get(self.at) else { return Ok(None) };
        if !matches!(sql_type, SqlType::Date | SqlType::Time | SqlType::Timestamp) {
            return Err(format!("the column {column} has a format: only DATE, TIME and TIMESTAMP have one, not {sql_type}"));
        }
        self.at += 1;
        match Pattern::compile(format) {
            Ok(pattern) => Ok(Some(pattern)),
            Err(ArrowError::ParseError(problem)) => Err(format!("the format of the column {column}: {problem}")),
            Err(problem) => Err(format!("the format of the column {column}: {problem}")),
        }
    }

    fn sql_type(&mut self) -> Result<SqlType, String> {
        let Some(Token::Word(word)) = self.tokens.get(self.at) else { return Err(self.unexpected("a data type")) };
        let word = word.clone();
        self.at += 1;
        Ok(match word.as_str() {
            "TINYINT" => SqlType::TinyInt,
            "SMALLINT" => SqlType::SmallInt,
            "INTEGER" | "INT" => SqlType::Integer,
            "BIGINT" => SqlType::BigInt,
            "REAL" => SqlType::Real,
            "FLOAT" => SqlType::Double,
            "DOUBLE" => {
                self.next_is("PRECISION");
                SqlType::Double
            }
            "BOOLEAN" => SqlType::Boolean,
            "DATE" => SqlType::Date,
            "TIME" => SqlType::Time,
            "TIMESTAMP" => SqlType::Timestamp,
            "DECIMAL" | "DEC" | "NUMERIC" => {
                let (precision, scale) = self.precision_and_scale()?;
                SqlType::Decimal(precision, scale)
            }
            "CHAR" | "CHARACTER" if self.next_is("VARYING") => SqlType::Varchar(self.length(CHARACTER_LENGTH_MAX)?),
            "CHAR" | "CHARACTER" => SqlType::Char(self.length(1)?),
            "VARCHAR" => SqlType::Varchar(self.length(CHARACTER_LENGTH_MAX)?),
            _ => {
                self.at -= 1;
                return Err(self.unexpected("a data type"));
            }
        })
    }

    fn length(&mut self, default: u32) -> Result<u32, String> {
        if !self.next_is("(") {
            return Ok(default);
        }
        let length = self.number("a length")?;
        self.expect(")")?;
        if (1..=CHARACTER_LENGTH_MAX).contains(&length) {
            Ok(length)
        } else {
            Err(format!("the length of a text is 1 to {CHARACTER_LENGTH_MAX}, not {length}"))
        }
    }

    /// 18 and 0 unless given (§1.6), at most 38 (§8.2).
    fn precision_and_scale(&mut self) -> Result<(u8, i8), String> {
        if !self.next_is("(") {
            return Ok((18, 0));
        }
        let precision = self.number("a precision")?;
        let scale = if self.next_is(",") { self.number("a scale")? } else { 0 };
        self.expect(")")?;
        match (u8::try_from(precision), i8::try_from(scale)) {
            (Ok(digits @ 1..=38), Ok(places)) if scale <= precision => Ok((digits, places)),
            _ => Err(format!("DECIMAL({precision}, {scale}) has more than 38 digits, or more behind the point than in all")),
        }
    }

    fn number(&mut self, what: &str) -> Result<u32, String> {
        match self.tokens.get(self.at) {
            Some(Token::Word(word)) if word.bytes().all(|byte| byte.is_ascii_digit()) => {
                let number = word.parse().map_err(|_| format!("{word} is too large in the description of columns"))?;
                self.at += 1;
                Ok(number)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// Takes the next token if it is this word or sign.
    fn next_is(&mut self, expected: &str) -> bool {
        let is = match self.tokens.get(self.at) {
            Some(Token::Word(word)) => word == expected,
            Some(Token::Sign(sign)) => expected.chars().eq([*sign]),
            _ => false,
        };
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, expected: &str) -> Result<(), String> {
        if self.next_is(expected) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn unexpected(&self, expected: &str) -> String {
        let found = match self.tokens.get(self.at) {
            Some(Token::Word(word)) => word.clone(),
            Some(Token::Quoted(name)) => format!("\"{name}\""),
            Some(Token::Text(text)) => format!("'{text}'"),
            Some(Token::Sign(sign)) => sign.to_string(),
            None => "their end".to_owned(),
        };
        format!("in the description of columns expected {expected}, found {found}")
    }
}
