/// One rank on one peer in one incarnation: its endpoint, its coroutine and its services.
#pragma once

#include <p2pdvm/async/driver_token.hpp>
#include <p2pdvm/async/queue_executor.hpp>
#include <p2pdvm/host/host.hpp>
#include <p2pdvm/messaging/endpoint.hpp>
#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/peal/services.hpp>

#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace p2pdvm::runtime {

class rank_runner;

/// What a runner asks of the job on this peer. The token is held in every call.
class rank_runner_owner {
 public:
  [[nodiscard]] virtual peal::verdict rank_arrives(rank_runner& r) = 0;
  [[nodiscard]] virtual peal::verdict rank_arrives_together(rank_runner& r,
                                                            epoch_number wished) = 0;
  [[nodiscard]] virtual epoch_number carried_wish() const = 0;
  [[nodiscard]] virtual epoch_number outstanding_epoch() const = 0;
  [[nodiscard]] virtual epoch_number committed_epoch() const = 0;
  virtual void rank_captured(rank_runner& r, epoch_number epoch, peal::snapshot taken) = 0;
  virtual void rank_stands(rank_runner& r, bool standing) = 0;
  /// The body has ended and its frames are gone. `failure` is empty when it returned.
  virtual void rank_ended(rank_runner& r, std::exception_ptr failure) = 0;
  [[nodiscard]] virtual result<payload> job_input(std::string_view name) = 0;
  [[nodiscard]] virtual result<std::string> job_option(std::string_view name) const = 0;
  [[nodiscard]] virtual result<> declares_output(std::string_view name) const = 0;
  [[nodiscard]] virtual std::size_t live_peers() const = 0;
  [[nodiscard]] virtual std::optional<duration> round_trip_to(rank_number rank) const = 0;
  [[nodiscard]] virtual std::uint32_t peer_of(rank_number rank) const = 0;
  [[nodiscard]] virtual std::uint32_t cores() const = 0;
  [[nodiscard]] virtual std::optional<std::string> file_name(rank_number of, std::uint16_t number) = 0;
  virtual void rank_explains(rank_runner& r, std::string sentence) = 0;

 protected:
  ~rank_runner_owner() = default;
};

class rank_runner final : public peal::rank_services {
 public:
  struct setting {
    rank_number self;
    std::uint32_t ranks = 0;
    incarnation_number incarnation;
    epoch_number epoch;  ///< of `start`
    epoch_number floor;
    std::uint64_t seed = 0;
    std::shared_ptr<const peal::snapshot> start;  ///< null: from the beginning
  };
  /// Whether a rank can begin with a snapshot that another peer gave.
  [[nodiscard]] static result<> check(const peal::snapshot& start, std::uint32_t ranks);
  /// The references must outlive the runner. Throws when `start` has no readable messages.
  rank_runner(rank_runner_owner& owner, messaging::endpoint_host& host, driver_token& token,
              queue_context& context, host::clock& clock, const setting& s);
  ~rank_runner();

  /// Starts the body; not for a rank that had returned already.
  void spawn(peal::program::body_type body);
  /// Ends the body's waits; `rank_ended` follows once its frames are gone.
  void cancel();
  [[nodiscard]] bool alive() const noexcept { return alive_; }

  [[nodiscard]] rank_number number() const noexcept { return setting_.self; }
  [[nodiscard]] incarnation_number incarnation() const noexcept { return setting_.incarnation; }
  [[nodiscard]] peal::rank& rank() noexcept { return rank_; }
  void freeze(bool frozen) noexcept { frozen_ = frozen; }

  // peal::rank_services
  driver_token& token() override { return token_; }
  ready_queue& ready() override { return context_.queue(); }
  messaging::endpoint& endpoint() override { return endpoint_; }
  peal::verdict arrive(std::uint64_t safe_point) override;
  peal::verdict arrive_together(std::uint64_t safe_point, epoch_number wished) override;
  epoch_number wished() const override { return owner_.carried_wish(); }
  epoch_number cut_epoch() const override { return owner_.outstanding_epoch(); }
  epoch_number committed_epoch() const override { return owner_.committed_epoch(); }
  void captured(epoch_number epoch, peal::snapshot taken) override;
  bool frozen() const override { return frozen_; }
  void stand(bool standing) override;
  const peal::snapshot* start() const override { return setting_.start.get(); }
  result<payload> input(std::string_view name) override { return owner_.job_input(name); }
  result<std::string> option(std::string_view name) const override {
    return owner_.job_option(name);
  }
  result<> declares_output(std::string_view name) const override { return owner_.declares_output(name); }
  time_point now() const override { return clock_.now(); }
  void release_after(duration delay, suspension& gate) override;
  void forget_release(suspension& gate) override;
  std::size_t peers() const override { return owner_.live_peers(); }
  std::optional<duration> round_trip(rank_number to) const override { return owner_.round_trip_to(to); }
  std::uint32_t peer_of(rank_number of) const override { return owner_.peer_of(of); }
  std::uint32_t cores() const override { return owner_.cores(); }
  std::optional<std::string> file_name(rank_number of, std::uint16_t number) override {
    return owner_.file_name(of, number);
  }
  void explain(std::string sentence) override { owner_.rank_explains(*this, std::move(sentence)); }

 private:
  rank_runner_owner& owner_;
  driver_token& token_;
  queue_context& context_;
  host::clock& clock_;
  setting setting_;
  std::optional<messaging::endpoint_state> messages_;
  messaging::endpoint endpoint_;
  peal::rank rank_;
  std::map<suspension*, host::timer_id> sleeps_;
  bool alive_ = false;
  bool frozen_ = false;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/rank_runner.ipp>
#endif
