/// Asks the peers of a job, one after another, to be let in.
#pragma once

#include <p2pdvm/host/timer.hpp>
#include <p2pdvm/runtime/job_messages.hpp>

#include <optional>
#include <string>
#include <vector>

namespace p2pdvm::runtime {

class joiner_owner {
 public:
  /// One request to one peer, with what the owner knows of itself.
  virtual void ask_to_join(const node_id& whom, const std::optional<ticket>& with) = 0;
  /// The same on a way that may lose it, and is shorter while there is no connection.
  virtual void ask_by_datagram(const node_id& whom, const ticket& with) = 0;
  /// Others that may be asked: `add` them as they are found.
  virtual void look_for_members(const ticket& with) = 0;
  /// Nobody answered in time, or somebody refused. The joiner may be destroyed in this call.
  virtual void join_failed(const error& why) = 0;

 protected:
  ~joiner_owner() = default;
};

/// Lasts from the first request until the record has this peer as a member.
class joiner {
 public:
  /// A newcomer, who gives up after a while; `with` is checked by the caller.
  joiner(joiner_owner& owner, host::clock& clock, ticket with);
  /// A member that the others took for lost; it never gives up.
  joiner(joiner_owner& owner, host::clock& clock);

  void add(const node_id& contact);
  [[nodiscard]] bool knows_nobody() const noexcept { return contacts_.empty(); }
  /// Now, and again every while.
  void ask();
  void ask_after(duration pause);
  /// A peer was good: nobody else is asked until `ask_again`, which begins with that one and has
  /// the full time again.
  void pause();
  void ask_again();
  /// The one that was asked will see to it: it is asked again only after a while, and others when
  /// that gets no answer.
  void wait_in_queue();
  /// The one that was asked cannot help.
  void ask_another(const error& why);

  /// The one that was asked last.
  [[nodiscard]] const std::optional<node_id>& asked() const noexcept { return asked_; }
  [[nodiscard]] bool has_asked(const node_id& node) const noexcept { return asked_ == node; }
  /// Is this the job of the ticket?
  [[nodiscard]] bool is_meant(const job_spec& spec) const noexcept;
  void on_connection_lost(const node_id& node, const error& why);

 private:
  void ask_next();
  void hurry(int times);
  [[nodiscard]] error nobody_answers() const;

  joiner_owner& owner_;
  host::clock& clock_;
  std::optional<ticket> with_;
  std::vector<node_id> contacts_;
  std::size_t next_ = 0;
  std::optional<node_id> asked_;
  time_point deadline_ = time_point_never;
  std::string last_trouble_;
  host::timer timer_, hurry_timer_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/joiner.ipp>
#endif
