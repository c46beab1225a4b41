//! The outside as rows to look up.

use super::*;

impl LookupConnector for Outside {
    fn open(&self, definition: Arc<TableDef>, request: LookupRequest) -> Result<Box<dyn Lookup>> {
        assert_eq!(request.keys, [0], "only by id");
        let password = definition.options.get("password").cloned().unwrap_or_default();
        let is_mislaid = definition.options.get("hostname").is_some_and(|host| host == "nowhere");
        Ok(Box::new(Shelf { outside: self.clone(), columns: request.columns, password, is_mislaid }))
    }
}

struct Shelf {
    outside: Outside,
    columns: Vec<usize>,
    password: String,
    /// Nobody is where it is looked for.
    is_mislaid: bool,
}

impl Lookup for Shelf {
    fn lookup(&mut self, keys: &[ArrayRef], len: usize) -> Result<Found> {
        self.check()?;
        let inner = self.outside.lock();
        let state: BTreeMap<i64, Option<String>> = inner.log.iter().flatten().cloned().collect();
        let (mut numbers, mut rows) = (Vec::new(), Vec::new());
        for number in 0..len {
            let Value::Integer(key) = Value::from_array(&keys[0], number, &TypeKind::BigInt) else { continue };
            if let Some(Some(value)) = state.get(&key) {
                numbers.push(number as u32);
                rows.push((key, Some(value.clone())));
            }
        }
        let batch = batch_of(&rows);
        let columns = self.columns.iter().map(|&c| batch.columns[c].clone()).collect();
        Ok(Found { keys: numbers.into(), columns })
    }

    fn check(&mut self) -> Result<()> {
        let inner = self.outside.lock();
        if inner.absent || self.is_mislaid {
            return Err(Error::unavailable("the shelf does not answer"));
        }
        if inner.needed_password != self.password && !inner.needed_password.is_empty() {
            return Err(Error::invalid("the shelf does not take this password"));
        }
        Ok(())
    }
}
