/// The changes that a job record can undergo, as pure functions from record to record.
///
/// Each checks its preconditions and fails with one sentence; `errc::conflict` means that
/// another write came first and there is nothing left to do. Each ends a change of keepers
/// that is in progress; `evict`, `move_ranks` and `upkeep` may begin one, so that a
/// commit never has to wait for new keepers. The roster version grows with every change of
/// members, keepers or placement. All are deterministic.
#pragma once

#include <p2pdvm/checkpoint/job_record.hpp>

#include <set>
#include <string>
#include <vector>

namespace p2pdvm::checkpoint {

/// A record with `founder` as only member and keeper, in state forming, incarnation 1.
[[nodiscard]] result<job_record> found_job(const job_id& job, const digest256& specification,
                                           std::uint32_t ranks, std::uint32_t replicas,
                                           member founder);

/// The same for a job that goes on from the state of another one: `base` is its committed epoch, of
/// which `founder` has all chunks. `start` or newcomers come next.
[[nodiscard]] result<job_record> found_job_at(const job_id& job, const digest256& specification,
                                              std::uint32_t ranks, std::uint32_t replicas,
                                              member founder, epoch_manifests base);

/// Adds a member, or takes back one that had left or was evicted. In a running job it is a
/// spare. Flags other than `spare`, `storage_only` and `hidden` are cleared.
[[nodiscard]] result<job_record> admit(const job_record& record, const member& joiner);
/// All of them at once, without those that cannot be admitted; an error when nobody can. A change of keepers is left to `upkeep`.
[[nodiscard]] result<job_record> admit(const job_record& record, const std::vector<member>& joiners);

/// Declares members lost; those already gone are skipped. If one of them hosts ranks of a
/// running job, each such rank goes to the least loaded member that can host (so to spares
/// first), the incarnation grows by one and the outstanding epoch is given up. `errc::lost`
/// when nobody is left who can run the ranks. `placement` is as for `start`, for the ranks of the
/// lost alone: where it gives another one another host, or a host that cannot run ranks, nothing
/// of it is taken.
[[nodiscard]] result<job_record> evict(const job_record& record, const std::set<node_id>& lost,
                                       const std::vector<std::uint32_t>& placement = {});

/// Gives every rank a host and starts the job. `placement` holds indexes into the members;
/// empty: blocks of consecutive ranks over the members, spares only when there is nobody else.
[[nodiscard]] result<job_record> start(const job_record& record,
                                       std::vector<std::uint32_t> placement = {});

/// Commits the outstanding epoch: `epoch` is `record.next_epoch()` and all its facts are of
/// `incarnation`. One manifest per rank.
[[nodiscard]] result<job_record> commit(const job_record& record, incarnation_number incarnation,
                                        epoch_number epoch, std::vector<chunk_id> manifests);

/// Commits the final epoch and ends the job; its manifests hold the results.
[[nodiscard]] result<job_record> finish(const job_record& record, incarnation_number incarnation,
                                        epoch_number epoch, std::vector<chunk_id> manifests);

/// Gives up the outstanding epoch. Of this and the commit of the same epoch one wins.
[[nodiscard]] result<job_record> raise_floor(const job_record& record,
                                             incarnation_number incarnation, epoch_number epoch);

/// New hosts without a rollback: every rank that moves is frozen at its cut of `epoch`, which
/// is the committed one. Members in `leaving` host nothing afterwards and are marked as left.
[[nodiscard]] result<job_record> move_ranks(const job_record& record,
                                            incarnation_number incarnation, epoch_number epoch,
                                            std::vector<std::uint32_t> placement,
                                            const std::set<node_id>& leaving);

/// New hosts for some ranks although nobody goes; all ranks begin again from `epoch`, which is the committed one.
[[nodiscard]] result<job_record> spread_ranks(const job_record& record, incarnation_number incarnation,
                                              epoch_number epoch, std::vector<std::uint32_t> placement);

/// Goes back to the committed epoch with the same members (the job is resumed).
[[nodiscard]] result<job_record> rollback(const job_record& record, incarnation_number seen);

/// Goes back to the epoch before the committed one, `unreadable`, of which some chunk has no good copy
/// any more. Neither its number nor that of the outstanding one is used again. `errc::lost` when
/// no epoch is kept before it.
[[nodiscard]] result<job_record> fall_back(const job_record& record, incarnation_number seen,
                                           epoch_number unreadable);

/// Ends the job with a sentence for the user; it should name the rank.
[[nodiscard]] result<job_record> fail(const job_record& record, std::string sentence);

/// Ends a change of keepers, or else begins one that is due. `newcomers` may not know yet that they are members, and become no keepers: who never hears of
/// it would be a keeper that is gone.
[[nodiscard]] result<job_record> upkeep(const job_record& record, const std::set<node_id>& newcomers = {});

/// The same job under a new id with `survivor` as its only live member and keeper, for a user
/// who gives up on lost keepers. The result is a first record, not a successor of `record`.
[[nodiscard]] result<job_record> override_job(const job_record& record, const job_id& job,
                                              const node_id& survivor);

/// What the register demands of any write: a change of keepers passes through a record that
/// names both sets, and the keeper version follows.
[[nodiscard]] result<> check_keeper_step(const job_record& from, const job_record& to);

}  // namespace p2pdvm::checkpoint

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/checkpoint/impl/transitions.ipp>
#endif
