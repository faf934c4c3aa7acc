//! Calls as commands of Redis, and their answers.

use redis::{Cmd, FromRedisValue, Pipeline, Value};

use crate::linearizability::{Method, ObjectKind, Returned};

/// Sets a key if it has the expected value; an empty one stands for a key that does not exist.
const COMPARE_AND_SET: &str = "local found = redis.call('GET', KEYS[1]) or '' \
     if found == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return 1 end \
     return 0";

/// The command of a call.
pub(super) fn command(key: &str, method: &Method) -> Cmd {
    let with = |name: &str, values: &[u64]| {
        let mut cmd = redis::cmd(name);
        cmd.arg(key).arg(values);
        cmd
    };
    match method {
        Method::Get => with("GET", &[]),
        Method::Set(new) => with("SET", &[*new]),
        Method::CompareAndSet { expected, new } => {
            let expected = expected.map(|value| value.to_string()).unwrap_or_default();
            let mut cmd = redis::cmd("EVAL");
            cmd.arg(COMPARE_AND_SET)
                .arg(1)
                .arg(key)
                .arg(expected)
                .arg(*new);
            cmd
        }
        Method::Increment => with("INCR", &[]),
        Method::Push(new) => with("RPUSH", &[*new]),
        Method::Pop => with("LPOP", &[]),
        Method::List => {
            let mut cmd = with("LRANGE", &[]);
            cmd.arg(0).arg(-1);
            cmd
        }
        Method::Add(new) => with("SADD", &[*new]),
        Method::Remove(old) => with("SREM", &[*old]),
        Method::Members => with("SMEMBERS", &[]),
    }
}

/// The answer to the command of a call; none if it is not of the kind that Redis gives.
pub(super) fn returned(kind: ObjectKind, method: &Method, answer: Value) -> Option<Returned> {
    let number = |answer| u64::from_redis_value(answer).ok();
    let value = |answer| Option::<u64>::from_redis_value(answer).ok();
    Some(match method {
        Method::Get if kind == ObjectKind::Counter => {
            Returned::Number(value(answer)?.unwrap_or_default())
        }
        Method::Get | Method::Pop => Returned::Value(value(answer)?),
        Method::Set(_) => {
            return (answer == Value::Okay).then_some(Returned::Done);
        }
        Method::CompareAndSet { .. } | Method::Add(_) | Method::Remove(_) => {
            Returned::Changed(number(answer)? == 1)
        }
        Method::Increment | Method::Push(_) => Returned::Number(number(answer)?),
        Method::List => Returned::Values(Vec::from_redis_value(answer).ok()?),
        Method::Members => {
            let mut values: Vec<u64> = Vec::from_redis_value(answer).ok()?;
            values.sort_unstable();
            Returned::Values(values)
        }
    })
}

/// The transaction that sets a key, after `WATCH`.
pub(super) fn transaction(key: &str, new: u64) -> Pipeline {
    let mut pipe = redis::pipe();
    pipe.cmd("MULTI");
    pipe.cmd("SET").arg(key).arg(new);
    pipe.cmd("EXEC");
    pipe
}

/// What the answer to `EXEC` says.
#[derive(Debug, PartialEq)]
pub(super) enum Executed {
    /// It is executed.
    Yes,
    /// It is not: a watched key had changed, or may have.
    No,
    /// An error, with its code.
    Error(String),
    /// Not an answer to `EXEC`.
    Unclear,
}

/// Reads the answers to a transaction.
pub(super) fn executed(answers: Vec<Value>) -> Executed {
    match answers.into_iter().next_back() {
        Some(Value::Nil) => Executed::No,
        Some(Value::Array(results)) => match &results[..] {
            [Value::Okay] => Executed::Yes,
            [Value::ServerError(error)] => Executed::Error(error.code().to_owned()),
            _ => Executed::Unclear,
        },
        Some(Value::ServerError(error)) => Executed::Error(error.code().to_owned()),
        _ => Executed::Unclear,
    }
}
