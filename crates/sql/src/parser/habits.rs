//! What people bring along from other systems, and what to write instead.
//!
//! Only for messages: a word or symbol that stands where the grammar wants something else is looked up here, so that whoever
//! typed it reads the Flink form and not only that it was not expected.

/// The remedy for `found`, which stands where a statement should have ended; `before` is what stands just before it. Both in
/// upper case.
pub(super) fn remedy(before: &str, found: &str) -> Option<&'static str> {
    Some(match (before, found) {
        (_, "ILIKE") => "compare without regard to case with LOWER(x) LIKE 'pattern'",
        (_, "REGEXP" | "RLIKE" | "~") => "write REGEXP(x, 'pattern')",
        (_, "::") => "write CAST(x AS type)",
        (_, "<=>") => "write a IS NOT DISTINCT FROM b",
        (_, "=>") => "greater or equal is >=",
        (_, "NOT") => "a test for NULL is written x IS NOT NULL",
        ("TOP", _) => "write SELECT … ORDER BY … LIMIT n",
        (_, "ROWS" | "ROW") => "LIMIT takes a number alone: LIMIT 10; or FETCH FIRST 10 ROWS ONLY",
        (_, "DESCENDING") => "the word is DESC",
        (_, "ASCENDING") => "the word is ASC",
        (_, "WHERE") => "WHERE stands before GROUP BY, HAVING and ORDER BY",
        (_, "GROUP") => "GROUP BY stands before HAVING and ORDER BY",
        (_, "HAVING") => "HAVING stands before ORDER BY",
        (_, "OUTER") => "an outer join names its side: LEFT JOIN, RIGHT JOIN or FULL JOIN",
        (_, "PARTITION") => "a table is PARTITIONED BY (columns)",
        (_, "ENGINE" | "CHARSET" | "COLLATE" | "TABLESPACE") => "options of a table stand in WITH ('key' = 'value')",
        _ => return None,
    })
}

/// The remedy for a statement that begins with `word`, in upper case.
pub(super) fn statement(word: &str) -> Option<&'static str> {
    Some(match word {
        "UPSERT" | "MERGE" => "INSERT INTO a table with a primary key updates the row that has the key",
        "COMMIT" | "ROLLBACK" | "START" => {
            "there are no transactions: every statement stands by itself, and statement sets are one"
        }
        "GRANT" | "REVOKE" => "there are no privileges of tables",
        "COPY" | "LOAD" => {
            "read the file as a table WITH ('connector' = 'filesystem', …) and INSERT INTO … SELECT from it"
        }
        _ => return None,
    })
}

/// Whether an expression cannot begin with `word`, because it joins or ends one: no alias or column is meant then.
pub(super) fn joins_expressions(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "AND", "AS", "ASC", "BETWEEN", "DESC", "ELSE", "END", "ESCAPE", "FROM", "GROUP", "HAVING", "IN", "IS", "JOIN",
        "LIKE", "LIMIT", "OFFSET", "ON", "OR", "ORDER", "THEN", "UNION", "WHEN", "WHERE",
    ];
    WORDS.binary_search(&word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found() {
        for word in ["AND", "WHERE", "FROM", "IS", "LIKE"] {
            assert!(joins_expressions(word), "{word}");
        }
        assert!(!joins_expressions("REGION"));
        assert!(remedy("C", "ILIKE").is_some() && remedy("TOP", "10").is_some() && remedy("A", "B").is_none());
        assert!(statement("MERGE").is_some() && statement("SELECT").is_none());
    }
}
