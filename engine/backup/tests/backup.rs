//! Backups of a store that is being written to: what is in them, what they share, and what damage does to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use engine_core::record::{ActorRecord, Change, NamespaceRecord};
use engine_store::rocks::Tuning;
use engine_store::{Batch, Persist, Rocks, Scan, State, Store, group};
use protocol::id::Id;
use protocol::message::{KvChange, KvSpace};
use rivet_engine_backup::{BackupError, Manifest, Repository, Stage, Step, create, restore, verify};
use tempfile::TempDir;

/// A data directory with a store, and a folder of backups beside it.
struct World {
    folder: TempDir,
    store: Option<Rocks>,
    made: u64,
}

fn quiet(_: Step) -> bool {
    true
}

fn namespace() -> Id {
    Id::new([9; 16], 1)
}

fn actor(number: u8) -> ActorRecord {
    let (name, pool) = ("a".to_owned(), "default".to_owned());
    let unknown = ActorRecord::unknown(Id::new([number; 16], 1));
    ActorRecord { namespace: namespace(), name, pool, create_ms: number.into(), sleep_ms: Some(1), generation: 1, ..unknown }
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().expect("the temporary directory can be written");
        let mut world = World { folder, store: None, made: 0 };
        world.open();
        let namespace = NamespaceRecord {
            id: namespace(),
            name: "default".to_owned(),
            display_name: "Default".to_owned(),
            create_ms: 1,
            quotas: Default::default(),
            delete_ms: None,
        };
        world.write(&[Change::PutNamespace(namespace)]);
        fs::create_dir_all(world.data().join("components")).expect("a folder");
        world
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn repository(&self) -> Repository {
        Repository::create(&self.folder.path().join("backups")).expect("a folder for backups")
    }

    fn open(&mut self) {
        self.store = None;
        self.store = Some(Rocks::open(&self.data().join("store"), &Tuning::default()).expect("it opens"));
    }

    fn store(&self) -> &Rocks {
        self.store.as_ref().expect("it is open")
    }

    fn write(&self, changes: &[Change]) {
        let batch = group::alone(self.store(), State::batch(changes)).expect("a read");
        self.store().commit(&batch, Persist::Synced).expect("a commit");
    }

    /// An actor with so many entries of 1,000 bytes that do not compress.
    fn add_actor(&self, number: u8, entries: u64) {
        self.write(&[Change::CreateActor { record: Box::new(actor(number)), input: None }]);
        let mut random = fastrand::Rng::with_seed(u64::from(number));
        for entry in 0..entries {
            let value: Vec<u8> = (0..1_000).map(|_| random.u8(..)).collect();
            let changes = vec![KvChange::Put { key: entry.to_be_bytes().to_vec().into(), value: value.into() }];
            self.write(&[Change::Kv { actor: actor(number).id, space: KvSpace::Actor, now_ms: 1, changes }]);
        }
    }

    fn back_up(&mut self) -> Manifest {
        self.made += 1;
        let stage = Stage::make(self.store(), &self.data()).expect("a stage");
        let id = format!("{:04}-test", self.made);
        create(&stage, &self.repository(), &id, self.made, None, &mut quiet).expect("a backup").manifest
    }

    fn restored(&self, id: &str) -> (TempDir, BTreeMap<Vec<u8>, Vec<u8>>) {
        let folder = tempfile::tempdir().expect("the temporary directory can be written");
        let place = folder.path().join("new/data");
        restore(&self.repository(), id, &place, &mut quiet).expect("a restore");
        let store = Rocks::open(&place.join("store"), &Tuning::default()).expect("what was restored opens");
        let all = all(&store);
        (folder, all)
    }
}

fn all(store: &dyn Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let scan = Scan { start: &[], end: None, reverse: false, keys_only: false, limit: usize::MAX, bytes_max: usize::MAX };
    store.scan(scan).expect("it can be read").into_iter().map(|pair| (pair.key.to_vec(), pair.value.to_vec())).collect()
}

#[test]
fn a_backup_is_the_moment_it_was_made_at_key_by_key() {
    let mut world = World::new();
    world.add_actor(1, 200);
    let component = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    fs::write(world.data().join(format!("components/{component}.wasm")), "abc").expect("a component");
    let before = all(world.store());
    let manifest = world.back_up();
    world.add_actor(2, 50);

    assert_eq!((manifest.counts.namespaces, manifest.counts.actors, manifest.counts.entries), (1, 1, 200));
    assert!(!world.data().join("checkpoint").exists(), "what was linked for it is gone");
    verify(&world.repository(), &manifest.id, &mut quiet).expect("it is whole");
    let (folder, found) = world.restored("latest");
    assert_eq!(found, before, "every key, and none that came later");
    let restored = folder.path().join("new/data");
    assert_eq!(fs::read(restored.join(format!("components/{component}.wasm"))).expect("it is there"), b"abc");
    let names: Vec<_> =
        fs::read_dir(folder.path().join("new")).expect("it is there").map(|entry| entry.expect("an entry")).collect();
    assert_eq!(names.len(), 1, "nothing is left beside it");

    let error = restore(&world.repository(), "latest", &restored, &mut quiet).expect_err("it is not empty");
    assert!(matches!(error, BackupError::Occupied { .. }), "{error}");
}

#[test]
fn what_is_there_is_not_copied_again_and_a_number_alone_says_nothing() {
    let mut world = World::new();
    world.add_actor(1, 2_000);
    let first = world.back_up();
    assert!(first.new_bytes > 2_000_000, "{first:?}");
    let second = world.back_up();
    assert!(second.bytes > 2_000_000 && second.new_bytes < 100_000, "{} of {} new", second.new_bytes, second.bytes);
    world.open();
    world.add_actor(2, 500);
    let third = world.back_up();
    assert!((500_000..1_500_000).contains(&third.new_bytes), "{} of {} new", third.new_bytes, third.bytes);

    // Back to the first one: from there on tables of the same number and nearly the same size are other tables.
    let (folder, _) = world.restored(&first.id);
    world.store = None;
    fs::remove_dir_all(world.data()).expect("it is ours");
    fs::rename(folder.path().join("new/data"), world.data()).expect("it is ours");
    world.open();
    world.add_actor(3, 500);
    let before = all(world.store());
    let fourth = world.back_up();
    assert_eq!(world.restored(&fourth.id).1, before);
    for (id, manifest) in world.repository().list().expect("a list") {
        assert_eq!(manifest.expect("a manifest").id, id);
        verify(&world.repository(), &id, &mut quiet).expect("it is whole");
    }
}

#[test]
fn what_no_backup_has_any_more_is_removed() {
    let mut world = World::new();
    world.add_actor(1, 500);
    let first = world.back_up();
    world.add_actor(2, 500);
    let second = world.back_up();
    world.add_actor(3, 500);
    let third = world.back_up();
    let (gone, freed) = world.repository().prune(2).expect("it prunes");
    assert_eq!((gone, freed > 0), (vec![first.id.clone()], true));
    assert!(matches!(verify(&world.repository(), &first.id, &mut quiet), Err(BackupError::NoSuchBackup { .. })));
    world.repository().remove(&third.id).expect("it is there");
    verify(&world.repository(), &second.id, &mut quiet).expect("it has all that it needs");
    assert!(matches!(world.repository().remove("../../x"), Err(BackupError::NoSuchBackup { .. })));
    world.repository().prune(0).expect("it prunes");
    let left = walk(&world.folder.path().join("backups/files"));
    assert_eq!(left, Vec::<PathBuf>::new());
}

fn walk(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).expect("it is there").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// One byte of any file of it, and any file missing: it is found, and nothing is restored from it.
#[test]
fn damage_is_found_and_never_restored() {
    let mut world = World::new();
    world.add_actor(1, 100);
    let manifest = world.back_up();
    let place = world.folder.path().join("restored");
    let repository = world.repository();
    for file in &manifest.files {
        let path = repository.file(&file.sha256);
        let bytes = fs::read(&path).expect("it is there");
        let mut other = bytes.clone();
        match other.get_mut(bytes.len() / 2) {
            Some(byte) => *byte ^= 0x10,
            None => other.push(0),
        }
        for damage in [Some(other), Some(bytes[..bytes.len().saturating_sub(1)].to_vec()), None] {
            if damage.as_ref() == Some(&bytes) {
                continue;
            }
            fs::remove_file(&path).expect("it is there");
            if let Some(damage) = damage {
                fs::write(&path, damage).expect("it can be written");
            }
            let found = verify(&repository, &manifest.id, &mut quiet);
            assert!(matches!(found, Err(BackupError::Damaged { .. })), "{}: {found:?}", file.path);
            let found = restore(&repository, &manifest.id, &place, &mut quiet);
            assert!(matches!(found, Err(BackupError::Damaged { .. })), "{}: {found:?}", file.path);
            assert!(!place.exists());
            fs::write(&path, &bytes).expect("it can be written");
        }
    }
    verify(&repository, &manifest.id, &mut quiet).expect("it is as it was");
    restore(&repository, &manifest.id, &place, &mut quiet).expect("what was begun before does not stand in its way");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let mut world = World::new();
    world.add_actor(1, 1);
    world.back_up();
    let other = world.folder.path().join("other");
    fs::create_dir(&other).expect("a folder");
    fs::write(other.join("mine"), "mine").expect("a file");
    assert!(matches!(Repository::create(&other), Err(BackupError::NotARepository { .. })));
    assert!(matches!(Repository::open(&other), Err(BackupError::NotARepository { .. })));
    assert!(matches!(restore(&world.repository(), "latest", &other, &mut quiet), Err(BackupError::Occupied { .. })));
    // Beside the place lies somebody's folder of the name that a restore would use.
    let beside = world.folder.path().join(".new.restoring");
    fs::create_dir(&beside).expect("a folder");
    fs::write(beside.join("mine"), "mine").expect("a file");
    let place = world.folder.path().join("new");
    assert!(matches!(restore(&world.repository(), "latest", &place, &mut quiet), Err(BackupError::Occupied { .. })));
    assert_eq!(fs::read(beside.join("mine")).expect("it is there"), b"mine");

    // Nothing can be renamed to these.
    let link = world.folder.path().join("link");
    std::os::unix::fs::symlink(world.folder.path(), &link).expect("a link");
    for (place, why) in [(link.as_path(), "a link"), (Path::new("/proc"), "a file system of its own")] {
        let refused = restore(&world.repository(), "latest", place, &mut quiet).expect_err("no place");
        assert!(refused.to_string().contains(&format!("{} is {why}", place.display())), "{refused}");
    }

    let repository = world.repository();
    let _lock = repository.lock().expect("nobody has it");
    for outcome in [repository.prune(1).map(drop), verify(&repository, "latest", &mut quiet).map(drop)] {
        assert!(matches!(outcome, Err(BackupError::Busy { .. })), "{outcome:?}");
    }
}

#[test]
fn a_backup_that_is_given_up_is_none() {
    let mut world = World::new();
    world.add_actor(1, 3_000);
    let repository = world.repository();
    let stage = Stage::make(world.store(), &world.data()).expect("a stage");
    let given_up = create(&stage, &repository, "0000-given-up", 1, None, &mut |_| false);
    assert!(matches!(given_up, Err(BackupError::GivenUp)));
    drop(stage);
    assert!(repository.list().expect("a list").is_empty());
    world.back_up();
    verify(&repository, "latest", &mut quiet).expect("it is whole");
}

/// A store whose indexes say something else than its records is not what an engine wrote.
#[test]
fn a_store_that_contradicts_itself_is_told() {
    type Spoil = fn(&mut Batch);
    let rows: [(&str, Spoil); 5] = [
        ("is awake: false; listed as such: true", |batch| batch.put(engine_store::keys::awake(actor(1).id), vec![1])),
        ("an alarm at 5 is listed", |batch| batch.put(engine_store::keys::alarm(5, actor(1).id), vec![1])),
        ("of which there is no record", |batch| {
            batch.put(engine_store::keys::kv(KvSpace::Actor, actor(7).id, b"k"), engine_store::records::kv(1, b"v"));
        }),
        ("the record of an actor", |batch| batch.put(engine_store::keys::actor(actor(1).id), vec![3, 1])),
        ("is not in the list of its name", |batch| {
            let kind = engine_store::keys::Kind::LivingByName;
            batch.delete(engine_store::keys::by_name(kind, namespace(), "a", 1, actor(1).id));
        }),
    ];
    for (says, spoil) in rows {
        let mut world = World::new();
        world.add_actor(1, 1);
        let mut batch = Batch::new();
        spoil(&mut batch);
        world.store().commit(&batch, Persist::Synced).expect("a commit");
        let manifest = world.back_up();
        let error = verify(&world.repository(), &manifest.id, &mut quiet).expect_err("it makes no sense").to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// Files that only a backup has whose manifest is damaged stay until it is forgotten; and until then everything stays.
#[test]
fn nothing_is_removed_while_a_manifest_cannot_be_read() {
    let mut world = World::new();
    for number in 1..4 {
        world.add_actor(number, 1);
        world.back_up();
    }
    let repository = world.repository();
    let ids = || repository.list().expect("a list").into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    let (before, damaged) = (ids(), ids().remove(0));
    let manifest = world.folder.path().join(format!("backups/backups/{damaged}.json"));
    assert!(manifest.is_file(), "{}", manifest.display());
    fs::write(&manifest, "{").expect("a file");
    for refused in [repository.prune(1).map(drop), repository.remove(&before[1]).map(drop)] {
        let said = refused.expect_err("one cannot be read").to_string();
        assert!(said.contains(&format!("backup remove {damaged}")), "{said}");
        assert_eq!(ids(), before);
    }
    repository.remove(&damaged).expect("it is forgotten");
    repository.prune(1).expect("it prunes");
    assert_eq!(ids(), before[2..]);
}
