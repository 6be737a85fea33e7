//! Tables `endpoints`, `leases` (addresses) and `ports` (host ports).

use rusqlite::OptionalExtension;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Database, Result, decode, encode};

/// A container's end of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint<D> {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The network's id.
    pub network: String,
    /// The container's id.
    pub container: String,
    /// Everything else.
    pub doc: D,
}

/// Table `endpoints`.
pub struct Endpoints<'a>(pub(crate) &'a Database);

impl Endpoints<'_> {
    /// Adds or replaces an endpoint.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn put<D: Serialize>(&self, row: &Endpoint<D>) -> Result<()> {
        let doc = encode("endpoints", &row.id, &row.doc)?;
        self.0
            .fast()
            .prepare_cached("INSERT OR REPLACE INTO endpoints (id, network, container, doc) VALUES (?1, ?2, ?3, ?4)")?
            .execute([&row.id, &row.network, &row.container, &doc])?;
        Ok(())
    }

    /// All endpoints.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn all<D: DeserializeOwned>(&self) -> Result<Vec<Endpoint<D>>> {
        self.query("SELECT id, network, container, doc FROM endpoints", [])
    }

    /// The endpoints of a network.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn of_network<D: DeserializeOwned>(&self, network: &str) -> Result<Vec<Endpoint<D>>> {
        self.query("SELECT id, network, container, doc FROM endpoints WHERE network = ?1", [network])
    }

    /// The endpoints of a container.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn of_container<D: DeserializeOwned>(&self, container: &str) -> Result<Vec<Endpoint<D>>> {
        self.query("SELECT id, network, container, doc FROM endpoints WHERE container = ?1", [container])
    }

    /// Removes an endpoint with its addresses and host ports; whether it was there.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn remove(&self, id: &str) -> Result<bool> {
        let mut connection = self.0.fast();
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM leases WHERE endpoint = ?1", [id])?;
        transaction.execute("DELETE FROM ports WHERE owner = ?1", [id])?;
        let removed = transaction.execute("DELETE FROM endpoints WHERE id = ?1", [id])? > 0;
        transaction.commit()?;
        Ok(removed)
    }

    fn query<D: DeserializeOwned, P: rusqlite::Params>(&self, sql: &str, params: P) -> Result<Vec<Endpoint<D>>> {
        let rows: Vec<(String, String, String, String)> = {
            let connection = self.0.fast();
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params, |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
            rows.collect::<std::result::Result<_, _>>()?
        };
        rows.into_iter()
            .map(|(id, network, container, doc)| {
                let doc = decode("endpoints", &id, &doc)?;
                Ok(Endpoint { id, network, container, doc })
            })
            .collect()
    }
}

/// Table `leases`: which addresses of a network are in use, and by which endpoint.
pub struct Leases<'a>(pub(crate) &'a Database);

impl Leases<'_> {
    /// Takes an address (without prefix length); false if it is taken.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn take(&self, network: &str, address: &str, endpoint: &str) -> Result<bool> {
        let taken = self
            .0
            .fast()
            .prepare_cached("INSERT OR IGNORE INTO leases (network, address, endpoint) VALUES (?1, ?2, ?3)")?
            .execute([network, address, endpoint])?;
        Ok(taken > 0)
    }

    /// The addresses in use in a network with their endpoints.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn of_network(&self, network: &str) -> Result<Vec<(String, String)>> {
        let connection = self.0.fast();
        let mut statement = connection.prepare_cached("SELECT address, endpoint FROM leases WHERE network = ?1")?;
        let rows = statement.query_map([network], |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// Gives back all addresses of an endpoint.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn release(&self, endpoint: &str) -> Result<()> {
        self.0.fast().prepare_cached("DELETE FROM leases WHERE endpoint = ?1")?.execute([endpoint])?;
        Ok(())
    }

    /// Gives back all addresses of a network.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn release_network(&self, network: &str) -> Result<()> {
        self.0.fast().execute("DELETE FROM leases WHERE network = ?1", [network])?;
        Ok(())
    }
}

/// Table `ports`: which host ports are in use, and by whom.
pub struct Ports<'a>(pub(crate) &'a Database);

impl Ports<'_> {
    /// Takes a port of an address; false if it is taken.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn take(&self, protocol: &str, address: &str, port: u16, owner: &str) -> Result<bool> {
        let taken = self
            .0
            .fast()
            .prepare_cached("INSERT OR IGNORE INTO ports (protocol, address, port, owner) VALUES (?1, ?2, ?3, ?4)")?
            .execute(rusqlite::params![protocol, address, port, owner])?;
        Ok(taken > 0)
    }

    /// Who has a port of an address.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn owner(&self, protocol: &str, address: &str, port: u16) -> Result<Option<String>> {
        let connection = self.0.fast();
        let mut statement =
            connection.prepare_cached("SELECT owner FROM ports WHERE protocol = ?1 AND address = ?2 AND port = ?3")?;
        Ok(statement.query_row(rusqlite::params![protocol, address, port], |r| r.get(0)).optional()?)
    }

    /// All ports: protocol, address, port, owner.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn all(&self) -> Result<Vec<(String, String, u16, String)>> {
        let connection = self.0.fast();
        let mut statement = connection.prepare_cached("SELECT protocol, address, port, owner FROM ports")?;
        let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// Gives back one port of an address.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn give_back(&self, protocol: &str, address: &str, port: u16) -> Result<()> {
        self.0
            .fast()
            .prepare_cached("DELETE FROM ports WHERE protocol = ?1 AND address = ?2 AND port = ?3")?
            .execute(rusqlite::params![protocol, address, port])?;
        Ok(())
    }

    /// Gives back all ports of an owner.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn release(&self, owner: &str) -> Result<()> {
        self.0.fast().prepare_cached("DELETE FROM ports WHERE owner = ?1")?.execute([owner])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_takes_its_leases_along() {
        let dir = tempfile::tempdir().expect("tempdir");
        let db = Database::open(&dir.path().join("db")).expect("open");
        assert!(db.leases().take("n", "10.0.0.2", "e").expect("take"));
        assert!(!db.leases().take("n", "10.0.0.2", "f").expect("take"));
        assert!(db.ports().take("tcp", "0.0.0.0", 80, "e").expect("take"));
        assert!(!db.ports().take("tcp", "0.0.0.0", 80, "f").expect("take"));
        assert_eq!(db.ports().owner("tcp", "0.0.0.0", 80).expect("owner").as_deref(), Some("e"));
        let row = Endpoint { id: "e".into(), network: "n".into(), container: "c".into(), doc: 1 };
        db.endpoints().put(&row).expect("put");
        assert_eq!(db.endpoints().of_container::<i32>("c").expect("get"), [row]);
        assert!(db.endpoints().remove("e").expect("remove"));
        assert!(db.leases().of_network("n").expect("leases").is_empty());
        assert!(db.ports().all().expect("ports").is_empty());
    }
}
