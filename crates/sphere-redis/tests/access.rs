//! Who gets in, who does not, and do errors keep secrets?
#![allow(clippy::unwrap_used)]

mod common;

use common::{LIMIT, put, single, workload};
use sphere_pipeline::{Slot, Store, StoreError};
use sphere_redis::{RedisConfig, RedisStore, RedisTls};
use sphere_testkit::redis::{Authority, Redis, RedisOptions};
use std::path::{Path, PathBuf};

const SECRET: &str = "correct-horse-battery";
const WRONG: &str = "incorrect-horse-battery";

fn password_file(folder: &Path, name: &str, password: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, format!("{password}\n")).unwrap();
    path
}

async fn refused(config: RedisConfig) -> String {
    assert!(!format!("{config:?}").contains("horse"), "{config:?}");
    let store = RedisStore::new(config).unwrap();
    assert!(!format!("{store:?}").contains("horse"), "{store:?}");
    let outcomes = [
        store.check().await.unwrap_err(),
        store.put(vec![put(&workload(0), Slot::Sample, "x")]).await.unwrap_err(),
        store.announcements().await.err().unwrap(),
    ];
    for error in &outcomes {
        let text = format!("{error} {error:?}");
        assert!(matches!(error, StoreError::Permanent { .. }), "{text}");
        assert!(!text.contains("horse"), "{text}");
    }
    println!("{}", outcomes[1]);
    outcomes[1].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_gets_in_with_the_right_password_only_and_sees_only_its_keys() {
    let acl = vec![
        format!("user sphere on >{SECRET} ~sphere:* &sphere:* +@all -@dangerous"),
        format!("user reader on >{SECRET} %R~sphere:* &sphere:* +@all -@dangerous"),
        "user default off".into(),
    ];
    let redis = Redis::start_with(RedisOptions { acl, ..RedisOptions::default() }).unwrap();
    let right = password_file(redis.folder(), "right", SECRET);
    let wrong = password_file(redis.folder(), "wrong", WRONG);
    let user = |name: &str, file: &Path| RedisConfig {
        username: Some(name.into()),
        password_file: Some(file.into()),
        ..single(&redis.address())
    };

    let store = RedisStore::connect(user("sphere", &right)).await.unwrap();
    store.put(vec![put(&workload(0), Slot::Sample, "x")]).await.unwrap();
    let mut listener = store.announcements().await.unwrap();
    store.announce(&[workload(0)]).await.unwrap();
    let heard = tokio::time::timeout(LIMIT, listener.next()).await.unwrap().unwrap();
    assert_eq!(heard, [workload(0)]);

    assert!(refused(user("sphere", &wrong)).await.contains("WRONGPASS"));
    assert!(refused(user("nobody", &right)).await.contains("WRONGPASS"));
    assert!(refused(single(&redis.address())).await.contains("NOAUTH"));

    let reader = RedisStore::connect(user("reader", &right)).await.unwrap();
    assert!(reader.get(Slot::Sample, &[workload(0)]).await.unwrap()[0].is_some());
    let error = reader.put(vec![put(&workload(0), Slot::Sample, "y")]).await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("NoPerm"), "{error}");
    let other = RedisConfig { prefix: "other".into(), ..user("sphere", &right) };
    let error = RedisStore::new(other).unwrap().get(Slot::Sample, &[workload(0)]).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_a_file_is_read_again_for_each_connection() {
    let options = RedisOptions { password: Some(SECRET.into()), ..RedisOptions::default() };
    let redis = Redis::start_with(options).unwrap();
    let file = password_file(redis.folder(), "password", WRONG);
    let config = RedisConfig { password_file: Some(file.clone()), ..single(&redis.address()) };
    let store = RedisStore::new(config).unwrap();
    assert!(!store.check().await.unwrap_err().is_transient());
    password_file(redis.folder(), "password", SECRET);
    store.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_with_whom_the_authority_vouches_for() {
    let redis = Redis::start_with(RedisOptions { tls: true, ..RedisOptions::default() }).unwrap();
    let address = redis.address();
    let with = |tls: RedisTls| RedisConfig { tls: Some(tls), ..single(&address) };
    let ours = redis.authority().unwrap().certificate();
    let stranger = Authority::create(redis.folder(), "stranger").unwrap().certificate();

    let right = with(RedisTls { ca_file: Some(ours.clone()), ..RedisTls::default() });
    let by_name = RedisConfig { nodes: vec![address.replace("127.0.0.1", "localhost")], ..right.clone() };
    for config in [right, by_name, with(RedisTls { insecure: true, ..RedisTls::default() })] {
        let store = RedisStore::connect(config).await.unwrap();
        store.put(vec![put(&workload(0), Slot::Sample, "x")]).await.unwrap();
        let mut listener = store.announcements().await.unwrap();
        store.announce(&[workload(0)]).await.unwrap();
        assert_eq!(tokio::time::timeout(LIMIT, listener.next()).await.unwrap().unwrap(), [workload(0)]);
    }

    for tls in [RedisTls { ca_file: Some(stranger), ..RedisTls::default() }, RedisTls::default()] {
        assert!(refused(with(tls)).await.contains("invalid peer certificate"));
    }
    // Neither is plain text to a TLS port (the server hangs up: no reason is told), nor TLS to a plain port.
    assert!(RedisStore::connect(common::impatient(single(&address))).await.is_err());
    let plain = Redis::start().unwrap();
    let tls = RedisTls { ca_file: Some(ours), ..RedisTls::default() };
    let config = RedisConfig { tls: Some(tls), ..single(&plain.address()) };
    assert!(RedisStore::connect(common::impatient(config)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_demand_a_certificate_from_us() {
    let options = RedisOptions { tls: true, client_certificates: true, ..RedisOptions::default() };
    let redis = Redis::start_with(options).unwrap();
    let authority = redis.authority().unwrap();
    let (cert, key) = authority.issue("client").unwrap();
    let ca = RedisTls { ca_file: Some(authority.certificate()), ..RedisTls::default() };
    let with = |tls: RedisTls| common::impatient(RedisConfig { tls: Some(tls), ..single(&redis.address()) });
    let known = RedisTls { cert_file: Some(cert), key_file: Some(key), ..ca.clone() };
    RedisStore::connect(with(known)).await.unwrap();
    let error = RedisStore::connect(with(ca)).await.unwrap_err();
    println!("{error}");
}
