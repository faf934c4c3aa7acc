//! What choosing a copy would do to the others, and whether it can be chosen. Pure.

use serde::Serialize;

use crate::protocol::copy::{DataCopy, Relation};

use super::ChooseError;

/// The copy of a data node, compared with the chosen one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeCopy {
    /// The node.
    pub node: String,
    /// The copy, or why it is not known.
    pub copy: String,
    /// What happens to it after the choice.
    pub then: CopyFate,
}

/// What happens to a copy after the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyFate {
    /// The lab continues with it.
    Chosen,
    /// It holds no more than the chosen one, and its node follows.
    Follows,
    /// It may hold what the chosen one lacks: it is set aside on disk, and its node copies the
    /// chosen one.
    KeptAside,
    /// Not known now. If it holds more, its node waits until another choice gives it up.
    Unknown,
}

/// The copies of all data nodes, and what a choice would do to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChoicePreview {
    /// The chosen node.
    pub chosen: String,
    /// All data nodes, in the order of `lab.toml`.
    pub nodes: Vec<NodeCopy>,
    /// The chosen node is already primary: other copies are given up for it.
    pub serves: bool,
}

/// The answer of a data node.
pub(super) struct NodeAnswer {
    /// The node's name.
    pub(super) node: String,
    /// Its report, or the reason why it does not answer.
    pub(super) held: Result<HeldCopyState, String>,
}

/// The copy of a data node, and the role of its server.
pub(super) struct HeldCopyState {
    pub(super) is_primary: bool,
    /// As a replica: its link is up.
    pub(super) link_up: bool,
    /// The copy; `None` while it is loading.
    pub(super) copy: Option<DataCopy>,
}

/// What choosing `name` would do, from the answers of all data nodes.
///
/// # Errors
/// If it cannot be chosen.
pub(super) fn judge(answers: &[NodeAnswer], name: &str) -> Result<ChoicePreview, ChooseError> {
    let mut chosen_copy = None;
    for answer in answers {
        match &answer.held {
            Ok(held) if held.is_primary && answer.node != name => {
                return Err(ChooseError::Serves(answer.node.clone()));
            }
            Ok(held) if answer.node == name => {
                if !held.is_primary && held.link_up {
                    return Err(ChooseError::InSync(name.to_owned()));
                }
                match &held.copy {
                    Some(copy) if *copy != DataCopy::Empty => {
                        chosen_copy = Some((held.is_primary, copy));
                    }
                    _ => return Err(ChooseError::NoData(name.to_owned())),
                }
            }
            Err(why) if answer.node == name => {
                return Err(ChooseError::Unreachable {
                    node: name.to_owned(),
                    why: why.clone(),
                });
            }
            _ => {}
        }
    }
    let Some((serves, chosen_copy)) = chosen_copy else {
        return Err(ChooseError::NoData(name.to_owned()));
    };
    let nodes: Vec<NodeCopy> = answers
        .iter()
        .map(|answer| {
            let (copy, then) = match &answer.held {
                Ok(held) => match &held.copy {
                    Some(copy) => {
                        let fate = fate_of(&answer.node, held.link_up, copy, (name, chosen_copy));
                        (copy.to_string(), fate)
                    }
                    None => ("loading its data".to_owned(), CopyFate::Unknown),
                },
                Err(why) => (why.clone(), CopyFate::Unknown),
            };
            NodeCopy {
                node: answer.node.clone(),
                copy,
                then,
            }
        })
        .collect();
    if serves && nodes.iter().all(|held| held.then != CopyFate::KeptAside) {
        return Err(ChooseError::NothingToGiveUp(name.to_owned()));
    }
    Ok(ChoicePreview {
        chosen: name.to_owned(),
        nodes,
        serves,
    })
}

/// What happens to `copy`, that of `node`, if `chosen_copy`, that of the node `chosen`, is chosen.
/// `link_up`: the link of `node` to its primary is up.
fn fate_of(
    node: &str,
    link_up: bool,
    copy: &DataCopy,
    (chosen, chosen_copy): (&str, &DataCopy),
) -> CopyFate {
    if node == chosen {
        return CopyFate::Chosen;
    }
    // It is in sync with the primary, which is the chosen node. Its answer may be the later of the
    // two.
    if link_up {
        return CopyFate::Follows;
    }
    match chosen_copy.against_that_of(chosen, copy, node, false) {
        Relation::Less | Relation::Same => CopyFate::Follows,
        Relation::More | Relation::Apart => CopyFate::KeptAside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::copy::{Completeness, Mark, RandomIds};

    fn mark() -> Mark {
        let drawn = RandomIds {
            lab: "lab".into(),
            term: "first".into(),
        };
        Mark::begin(None, "a", drawn).confirmed()
    }

    fn copy(mark: &Mark) -> Option<DataCopy> {
        Some(DataCopy::Marked(Box::new(mark.clone())))
    }

    fn parked(node: &str, copy: Option<DataCopy>) -> NodeAnswer {
        NodeAnswer {
            node: node.into(),
            held: Ok(HeldCopyState {
                is_primary: false,
                link_up: false,
                copy,
            }),
        }
    }

    fn serving(node: &str, is_primary: bool) -> NodeAnswer {
        NodeAnswer {
            node: node.into(),
            held: Ok(HeldCopyState {
                is_primary,
                link_up: !is_primary,
                copy: copy(&mark()),
            }),
        }
    }

    fn silent(node: &str) -> NodeAnswer {
        NodeAnswer {
            node: node.into(),
            held: Err("refused".into()),
        }
    }

    fn fates(answers: &[NodeAnswer], chosen: &str) -> Vec<CopyFate> {
        let preview = judge(answers, chosen).unwrap();
        preview.nodes.iter().map(|node| node.then).collect()
    }

    #[test]
    fn a_copy_that_may_hold_more_is_kept_aside_and_the_others_follow() {
        let more = mark().next(Some(0), Completeness::Open);
        let answers = [
            parked("a", copy(&more)),
            parked("b", copy(&mark())),
            parked("c", Some(DataCopy::Empty)),
            silent("d"),
        ];
        assert_eq!(
            fates(&answers, "b"),
            [
                CopyFate::KeptAside,
                CopyFate::Chosen,
                CopyFate::Follows,
                CopyFate::Unknown
            ]
        );
        assert_eq!(
            fates(&answers, "a")[..2],
            [CopyFate::Chosen, CopyFate::Follows]
        );
    }

    #[test]
    fn a_choice_is_refused_where_there_is_none_to_make() {
        let refused = |answers: &[NodeAnswer]| judge(answers, "b").unwrap_err();
        let primary = refused(&[serving("a", true), parked("b", copy(&mark()))]);
        assert!(matches!(primary, ChooseError::Serves(by) if by == "a"));
        let in_sync = refused(&[silent("a"), serving("b", false)]);
        assert!(matches!(in_sync, ChooseError::InSync(_)));
        let alone = refused(&[parked("a", copy(&mark())), serving("b", true)]);
        assert!(matches!(alone, ChooseError::NothingToGiveUp(_)));
        for no_data in [parked("b", Some(DataCopy::Empty)), parked("b", None)] {
            let no_data = refused(&[parked("a", copy(&mark())), no_data]);
            assert!(matches!(no_data, ChooseError::NoData(_)));
        }
        let unreachable = refused(&[parked("a", copy(&mark())), silent("b")]);
        assert!(matches!(unreachable, ChooseError::Unreachable { .. }));
    }
}
