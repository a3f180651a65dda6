//! The bytes of messages, as the protobuf compiler encodes them from etcd's own `rpc.proto`; and answers of
//! servers that know more than we do.

use prost::Message;

use super::messages::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits");
    (0..hex.len()).step_by(2).map(digits).collect()
}

fn encoded(message: &impl Message) -> String {
    hex(&message.encode_to_vec())
}

fn decoded<T: Message + Default>(golden: &str) -> T {
    T::decode(bytes(golden).as_slice()).expect("a message")
}

#[test]
fn requests_have_the_bytes_that_etcd_expects() {
    let newest_before = RangeRequest {
        limit: 1,
        sort_order: RangeRequest::DESCEND,
        sort_target: RangeRequest::CREATE,
        max_create_revision: 6,
        ..RangeRequest::prefix("q/")
    };
    let page = RangeRequest {
        key: "a".into(),
        range_end: "b".into(),
        limit: 1000,
        keys_only: true,
        count_only: true,
        ..RangeRequest::default()
    };
    let txn = TxnRequest {
        compare: vec![
            Compare::created_at("q/", 0).with_prefix(),
            Compare::created_after("q/", 6).with_prefix(),
            Compare::changed_at("q", 0),
            Compare::on_lease("q/7", 300),
        ],
        success: vec![RequestOp::put("q/7", "me", 300), RequestOp::delete("q")],
        failure: vec![newest_before.into(), page.into()],
    };
    let create = Some(WatchCreateRequest { key: "q/7".into(), start_revision: 9 });
    let login = AuthenticateRequest { name: "team".into(), password: "pw".into() };

    assert_eq!(
        encoded(&txn),
        "0a0d10011a02712f280082040271300a0f080110011a02712f280682040271300a0710021a017130000a0a1004\
         1a03712f3740ac02120e120c0a03712f3712026d6518ac0212051a030a01711a120a100a02712f120271301801\
         2802300268061a0f0a0d0a016112016218e80740014801"
    );
    assert_eq!(encoded(&LeaseGrantRequest { ttl: 10, id: 300 }), "080a10ac02");
    assert_eq!(encoded(&LeaseRevokeRequest { id: 300 }), "08ac02");
    assert_eq!(encoded(&LeaseKeepAliveRequest { id: 300 }), "08ac02");
    assert_eq!(encoded(&LeaseTimeToLiveRequest { id: 300 }), "08ac02");
    assert_eq!(encoded(&WatchRequest { create }), "0a070a03712f371809");
    assert_eq!(encoded(&login), "0a047465616d12027077");
    assert_eq!(encoded(&StatusRequest {}), "");
}

/// The answers have all fields of etcd 3.5, also those that we do not read.
#[test]
fn answers_are_read_from_the_bytes_of_etcd() {
    let txn: TxnResponse = decoded(
        "0a0808011002182a200310011a0612040a02182a1a1e0a1c0a02182a12120a03712f371005180620012a026d65\
         30ac0218012002",
    );
    let watch: WatchResponse = decoded(
        "0a04080118091004180120012803320377687938015a12080112070a03712f3718091a050a03712f375a0e120c\
         0a01711001180920022a0178",
    );
    let status: StatusResponse = decoded("0a0218091206332e352e31361880a001204d280530024201785001");
    let rest: LeaseTimeToLiveResponse = decoded("0a02180910ac0218ffffffffffffffffff01200a2a016b");
    let kept: LeaseKeepAliveResponse = decoded("0a041809200310ac02180a");
    let granted: LeaseGrantResponse = decoded("0a041809200310ac02180a220178");
    let login: AuthenticateResponse = decoded("0a02180912056162632e31");

    let key = KeyValue {
        key: "q/7".into(),
        create_revision: 5,
        mod_revision: 6,
        value: "me".into(),
        lease: 300,
    };
    let found = RangeResponse { kvs: vec![key], more: true, count: 2 };
    assert_eq!(txn.header, Some(Header { revision: 42, raft_term: 3 }));
    assert!(txn.succeeded);
    assert_eq!(txn.responses, [ResponseOp::default(), ResponseOp { range: Some(found) }]);
    let changed = |event: &Event| {
        let kv = event.kv.clone().unwrap();
        (event.kind, kv.key, kv.mod_revision)
    };
    assert!(watch.canceled);
    assert_eq!(changed(&watch.events[0]), (Event::DELETE, b"q/7".to_vec(), 9));
    assert_eq!(changed(&watch.events[1]), (Event::PUT, b"q".to_vec(), 9));
    assert_eq!(status.version, "3.5.16");
    assert_eq!(rest, LeaseTimeToLiveResponse { ttl: -1, granted_ttl: 10 });
    assert_eq!(kept.header, Some(Header { revision: 9, raft_term: 3 }));
    assert_eq!(kept.ttl, 10);
    assert_eq!(granted.header, Some(Header { revision: 9, raft_term: 3 }));
    assert_eq!((granted.id, granted.ttl), (300, 10));
    assert_eq!(login.token, "abc.1");
}

#[test]
fn unknown_fields_and_kinds_in_an_answer_are_ignored() {
    // Field 99 as each kind of a value: a number, eight bytes, text, four bytes.
    let unknown = "98062a99060102030405060708 9a0603616263 9d0601020304".replace(' ', "");
    let known = TxnResponse { succeeded: true, ..TxnResponse::default() };
    // An answer to an operation that we do not send: field 4.
    let other_op = "1a0422021001";
    // A change of kind 7.
    let event = "5a09080712050a03712f37";

    let txn: TxnResponse = decoded(&format!("{unknown}1001{unknown}"));
    let with_op: TxnResponse = decoded(&format!("1001{other_op}"));
    let watch: WatchResponse = decoded(&format!("{event}{unknown}"));

    assert_eq!(txn, known);
    assert_eq!(with_op.responses, [ResponseOp::default()]);
    assert_eq!(watch.events[0].kind, 7);
    assert_eq!(watch.events[0].kv.as_ref().unwrap().key, b"q/7");
}

#[test]
fn the_end_of_a_prefix_is_after_all_of_its_keys() {
    for (prefix, end) in
        [(&b"q/"[..], &b"q0"[..]), (b"a\xff", b"b"), (b"\xff\xff", b"\0"), (b"", b"\0")]
    {
        assert_eq!(end_of_prefix(prefix), end, "{prefix:?}");
    }
}
