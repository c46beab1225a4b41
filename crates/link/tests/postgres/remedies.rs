//! What a message says is to be typed can be typed as it stands, also where names are words of SQL.

use gridhouse_base::TypeKind;
use gridhouse_base::table::TableDef;
use gridhouse_flow::connector::SinkConnector;
use gridhouse_link::JdbcWriter;

use crate::describe::report;
use crate::setup::{Db, context, with};

/// What a sink is refused for: the message, and its statement, which begins so.
fn typed(definition: &TableDef, begin: &str) -> (String, String) {
    let error = JdbcWriter::new(&context()).describe(definition).expect_err("the table does not fit");
    let remedy = error.remedy().expect("it has a remedy");
    let at = remedy.find(begin).unwrap_or_else(|| panic!("`{begin}` is not in {remedy}"));
    (error.message().to_owned(), remedy[at..].to_owned())
}

#[test]
fn names_that_are_words_of_sql_are_quoted() {
    let db = Db::new("words");
    // Whatever this server reserves, in whichever category.
    let words = db.sql("SELECT word FROM pg_get_keywords() ORDER BY word");
    let columns: Vec<(&str, TypeKind)> = words.lines().map(|word| (word, TypeKind::STRING)).collect();
    assert!(columns.len() > 400, "{words}");
    let all = with(report(&db, &columns, &["user", "end"]), "table-name", "order");
    let (told, create) = typed(&all, "CREATE TABLE");
    assert!(told.contains("has no table 'public.order'"), "{told}");
    db.sql(&create);
    JdbcWriter::new(&context()).describe(&all).unwrap();
    let plain = create.split(['(', ')', ',']).filter(|part| !part.contains('"')).count();
    assert!(plain > 200, "words that are not reserved stay as they are: {create}");

    // One after the other, each of what a table may lack.
    for column in ["limit", "end"] {
        db.sql(&format!("ALTER TABLE \"order\" DROP COLUMN \"{column}\""));
        let (told, add) = typed(&all, "ALTER TABLE");
        assert!(told.contains(&format!("has no column '{column}'")), "{told}");
        db.sql(&add);
    }
    let (told, key) = typed(&all, "ALTER TABLE");
    assert!(told.contains("has no primary key and no unique index"), "the key went with its column: {told}");
    db.sql(&key);
    db.sql("ALTER TABLE \"order\" ALTER COLUMN \"limit\" TYPE int USING 1");
    let (told, retype) = typed(&all, "ALTER TABLE");
    assert!(told.contains("column public.order.limit has the type integer"), "{told}");
    db.sql(retype.split_once(", or CAST").unwrap().0);
    db.sql("ALTER TABLE \"order\" ADD COLUMN \"desc.\" int NOT NULL");
    let (told, lax) = typed(&all, "ALTER TABLE");
    assert!(told.contains("is NOT NULL without a default"), "{told}");
    db.sql(&lax);
    db.sql("CREATE ROLE \"grant\" LOGIN PASSWORD 'grant';");
    let of_role = with(with(all, "username", "grant"), "password", "grant");
    let (told, grant) = typed(&of_role, "GRANT");
    assert!(told.contains("role 'grant' lacks SELECT on table public.order"), "{told}");
    db.sql(&grant);
    let (told, grant) = typed(&of_role, "GRANT");
    assert!(told.contains("role 'grant' may not create the table public.gridhouse_sink"), "{told}");
    db.sql(&grant);
    JdbcWriter::new(&context()).describe(&of_role).unwrap();
    db.sql("DROP OWNED BY \"grant\"; DROP ROLE \"grant\"");
}
