/// Communicators and groups of ranks.
#pragma once

#include "attributes.hpp"
#include "errors.hpp"
#include "info.hpp"
#include "object.hpp"
#include "process.hpp"

#include <p2pdvm/peal/mpi/context.hpp>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace p2pdvm::c_mpi {

/// Ranks of the job, in order.
class group final : public object {
 public:
  explicit group(std::vector<int> ranks) : ranks_(std::move(ranks)) {}
  [[nodiscard]] const std::vector<int>& ranks() const noexcept { return ranks_; }
  [[nodiscard]] int size() const noexcept { return static_cast<int>(ranks_.size()); }
  /// The place of a rank of the job in it, or MPI_UNDEFINED.
  [[nodiscard]] int place_of(int job_rank) const;

 private:
  std::vector<int> ranks_;
};
[[nodiscard]] group& group_of(MPI_Group handle);
[[nodiscard]] MPI_Group new_handle(ref<group> of);

/// What a communicator's ranks are arranged as.
struct topology {
  int kind = MPI_UNDEFINED;
  std::vector<int> dimensions, periods, coordinates;            ///< of a Cartesian one
  std::vector<int> index, edges;                                ///< of a graph
  std::vector<int> sources, destinations, source_weights, destination_weights;
  bool weighted = false;                                        ///< these three of a distributed graph
};

class communicator final : public object {
 public:
  using core_pointer = std::shared_ptr<mpi::detail::group>;
  /// Of ranks of the job that all are in `core`.
  explicit communicator(core_pointer core);
  /// Between two groups; `core` has the members of both, those of one group after those of the other.
  communicator(core_pointer core, ref<group> local, ref<group> remote, bool local_first);

  [[nodiscard]] mpi::detail::group& core() const noexcept { return *core_; }
  [[nodiscard]] bool between_groups() const noexcept { return static_cast<bool>(remote_); }
  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] int size() const noexcept { return local_->size(); }
  /// How many ranks messages can name: those of the other group, where there is one.
  [[nodiscard]] int peers() const noexcept { return peers_->size(); }
  [[nodiscard]] group& local() const noexcept { return *local_; }
  [[nodiscard]] group& remote() const noexcept { return *remote_; }
  [[nodiscard]] int job_rank(int peer) const { return peers_->ranks()[static_cast<std::size_t>(peer)]; }
  [[nodiscard]] int peer_of(int job_rank) const { return places_.empty() ? job_rank : places_[static_cast<std::size_t>(job_rank)]; }
  /// Places in `core`.
  [[nodiscard]] int core_of_local(int member) const noexcept { return member + (local_first_ ? 0 : peers_->size()); }
  [[nodiscard]] int core_of_remote(int member) const noexcept { return member + (local_first_ ? local_->size() : 0); }
  [[nodiscard]] bool local_first() const noexcept { return local_first_; }

  [[nodiscard]] messaging::space_number space() const noexcept { return space_; }

  void check_peer(int peer, const char* what) const {
    if (peer >= 0 && peer < peers()) [[likely]]
      return;
    refuse_peer(peer, what);
  }

  /// Collectives begin in the order in which the program called them, one after the other.
  void begin(task<> work, std::function<void(std::exception_ptr)> ended);
  [[nodiscard]] bool busy() const noexcept { return running_; }

  std::string name;
  ref<error_handler> errors;
  ref<info> hints;
  attribute_list attributes;
  topology shape;
  bool predefined = false;

 private:
  ~communicator() override = default;
  void set_peers();
  [[noreturn]] void refuse_peer(int peer, const char* what) const;
  void begin_next();

  struct waiting {
    task<> work;
    std::function<void(std::exception_ptr)> ended;
  };
  core_pointer core_;
  ref<group> local_, remote_;
  group* peers_;
  bool local_first_ = true;
  int rank_;
  messaging::space_number space_;
  std::vector<int> places_;  ///< by rank of the job; empty where they are the same
  bool running_ = false;
  std::deque<waiting> waiting_;
};

[[nodiscard]] communicator& communicator_of(MPI_Comm handle);
/// One that is not between groups.
[[nodiscard]] communicator& within_one_group(communicator& c);
[[nodiscard]] MPI_Comm handle_of(communicator& c);
/// Of a new one, which then belongs to the program.
[[nodiscard]] MPI_Comm new_handle(ref<communicator> made);

/// Of a Cartesian one: who stands so far in that direction, or MPI_PROC_NULL.
[[nodiscard]] int shifted(const communicator& c, int dimension, int steps);

void make_predefined_communicators();
/// As MPI_Comm_free, also of those that are always there.
void drop_predefined_communicators();

}  // namespace p2pdvm::c_mpi
