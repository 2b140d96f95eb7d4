/// All ranks of a job in one process, without peers: for tests of PEAL and of its adapters.
///
/// `cut_at(i)` makes every rank cut when it comes to safe point i, `cut_at_stand(i)` when it stands for the ith time; the snapshots,
/// late logs absorbed, start another world, as a rollback would.
#pragma once

#include "support/test.hpp"

#include <p2pdvm/async/queue_executor.hpp>
#include <p2pdvm/messaging/endpoint.hpp>
#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <asio/co_spawn.hpp>

#include <algorithm>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace p2pdvm::test {

class local_world final : public messaging::endpoint_host {
 public:
  using options = std::map<std::string, std::string>;
  using snapshots = std::vector<peal::snapshot>;

  local_world(std::uint32_t ranks, peal::program::body_type body, options given = {},
              const snapshots* from = nullptr)
      : options_(std::move(given)) {
    for (std::uint32_t r = 0; r < ranks; ++r)
      members_.push_back(std::make_unique<member>(*this, rank_number(r), ranks,
                                                  from == nullptr ? nullptr : &(*from)[r]));
    for (auto& m : members_) {
      if (!m->rank.finished()) m->spawn(body);
    }
  }
  ~local_world() {
    for (auto& m : members_) {
      const std::lock_guard lock(token_);
      m->rank.cancel();
    }
    while (queue_.queue().drain(1000) > 0) {
    }
  }

  local_world& input(std::string name, std::string text) {
    inputs_[std::move(name)] = std::move(text);
    return *this;
  }
  local_world& cut_at(std::uint64_t safe_point) {
    cut_at_ = safe_point;
    return *this;
  }

  /// A rank that returns before that is cut then; and one that stands for something which only others can do who have cut, when nothing
  /// else happens any more.
  local_world& cut_at_stand(std::uint64_t times) {
    cut_at_stand_ = times;
    return *this;
  }

  /// What ranks are told of the network; without it all are on one peer.
  using round_trips = std::function<std::optional<duration>(int from, int to)>;
  local_world& network(round_trips between) {
    round_trip_ = std::move(between);
    return *this;
  }
  local_world& cores(std::uint32_t shared) {
    cores_ = shared;
    return *this;
  }
  [[nodiscard]] const std::vector<std::string>& explained() const noexcept { return explained_; }

  /// Runs, and gives the sentence that it fails with; empty when it does not.
  [[nodiscard]] std::string failure() {
    try {
      static_cast<void>(run());
    } catch (const std::system_error& e) {
      return e.what();
    }
    return "";
  }
  /// Runs until every rank returned. False when they wait for one another for ever.
  [[nodiscard]] bool run() {
    for (;;) {
      while (queue_.queue().drain(1000) > 0) acknowledge();
      if (!timers_.empty()) {
        auto first = timers_.begin();
        now_ = first->first;
        suspension* gate = first->second;
        timers_.erase(first);
        gate->release();
        continue;
      }
      acknowledge();
      if (queue_.queue().empty() && !cut_one_that_stands()) break;
    }
    for (const auto& m : members_) {
      if (m->failure) std::rethrow_exception(m->failure);
    }
    for (const auto& m : members_) {
      if (!m->rank.finished()) return false;
    }
    return true;
  }

  /// The parts of a result in rank order. Call `cut()` before it.
  [[nodiscard]] std::string result(const std::string& name) {
    std::string all;
    for (auto& m : members_) {
      if (m->rank.finished() && !m->last) m->last = m->rank.capture(epoch_number(1u << 20));
      if (const auto* piece = m->last->find("result/" + name)) all += as_text(piece->whole().view());
    }
    return all;
  }
  /// Of ranks that have returned, after `result`.
  [[nodiscard]] snapshots last_snapshots() const {
    snapshots all;
    for (const auto& m : members_) all.push_back(*m->last);
    return all;
  }
  /// The file that an output would be. Call `cut()` before it.
  [[nodiscard]] std::string output(const std::string& name) {
    std::vector<byte_vector> logs;
    std::vector<std::vector<peal::output_frame>> frames;
    for (auto& m : members_) {
      if (m->rank.finished() && !m->last) m->last = m->rank.capture(epoch_number(1u << 20));
      byte_vector& log = logs.emplace_back();
      if (const auto* piece = m->last->find("output/" + name)) {
        for (const payload& p : piece->parts) append(log, p.view());
      }
    }
    for (const byte_vector& log : logs) frames.push_back(peal::read_output_frames(log).value());
    const byte_vector file = peal::merge_output(frames);
    return std::string(as_text(file));
  }
  struct message_count {
    std::uint64_t sent = 0, received = 0;
  };
  /// How many messages each rank has sent and got, those to itself left out. Call `cut()` before it.
  [[nodiscard]] std::vector<message_count> message_counts() {
    std::vector<message_count> all;
    for (auto& m : members_) {
      if (!m->last) m->last = m->rank.capture(epoch_number(1u << 20));
      const messaging::endpoint_state state = member::decode(*m->last);
      message_count& n = all.emplace_back();
      for (std::size_t other = 0; other < state.pairs.size(); ++other) {
        if (other == all.size() - 1) continue;
        n.sent += state.pairs[other].next_sequence;
        n.received += state.pairs[other].received;
      }
    }
    return all;
  }
  /// Snapshots of all ranks, when all have cut at the asked safe point.
  [[nodiscard]] std::optional<snapshots> cut() {
    snapshots all;
    for (auto& m : members_) {
      if (!m->taken) return std::nullopt;
      all.push_back(with_late_log(*m->taken, m->end.late_log()));
    }
    return all;
  }
  [[nodiscard]] std::optional<std::string> abandoned() const { return abandoned_; }

  // messaging::endpoint_host
  messaging::endpoint* local(rank_number r) override { return &members_[r.value()]->end; }
  bool ready(rank_number r) const override { return r.value() < members_.size(); }
  void transmit(const messaging::rank_message&, messaging::numbering, epoch_number) override {}
  void tell_blocked(rank_number, rank_number, messaging::numbering) override {}
  void acknowledgements_due(messaging::endpoint& e, bool) override {
    if (std::find(due_.begin(), due_.end(), &e) == due_.end()) due_.push_back(&e);
  }
  void must_abandon(rank_number, epoch_number, std::string why) override { abandoned_ = why; }
  void waits_for_held(rank_number, epoch_number, std::string why) override { abandoned_ = why; }

 private:
  struct member final : peal::rank_services {
    member(local_world& w, rank_number self, std::uint32_t ranks, const peal::snapshot* from)
        : world(w),
          start_from(from),
          state(from == nullptr ? std::nullopt : std::optional(decode(*from))),
          end(w, self, ranks, epoch_number(from == nullptr ? 0 : 1), epoch_number(0),
                   state ? &*state : nullptr),
          rank(*this, self, ranks, 17),
          epoch(from == nullptr ? 0 : 1) {
      if (rank.finished()) (void)end.end_prelude();
    }

    static messaging::endpoint_state decode(const peal::snapshot& from) {
      return *wire::decode<messaging::endpoint_state>(from.find("messages")->whole().view());
    }
    void spawn(peal::program::body_type body) {
      asio::co_spawn(world.queue_.get_executor(), body(rank), [this](std::exception_ptr e) {
        const std::lock_guard lock(world.token_);
        if (rank.cancelled()) return;
        failure = e;
        rank.finish();
        if (world.cut_at_stand_ != 0 && !taken && !e) captured(epoch.next(), rank.capture(epoch.next()));
      });
    }

    driver_token& token() override { return world.token_; }
    ready_queue& ready() override { return world.queue_.queue(); }
    messaging::endpoint& endpoint() override { return end; }
    peal::verdict arrive(std::uint64_t i) override {
      return i == world.cut_at_ && !taken ? peal::verdict::cut : peal::verdict::pass;
    }
    peal::verdict arrive_together(std::uint64_t i, epoch_number wished) override {
      CHECK(wished == world.wished_epoch());
      return arrive(i);
    }
    epoch_number wished() const override { return world.wished_epoch(); }
    epoch_number cut_epoch() const override { return epoch.next(); }
    void captured(epoch_number e, peal::snapshot s) override {
      epoch = e;
      taken = std::move(s);
      for (const auto& m : world.members_) {
        if (!m->taken) return;
      }
      for (const auto& m : world.members_) m->end.close_late_log();
    }
    epoch_number committed_epoch() const override { return epoch_number(start_from == nullptr ? 0 : 1); }
    p2pdvm::result<> declares_output(std::string_view name) const override {
      if (name == "undeclared") return error(errc::invalid_argument, "no output --undeclared");
      return {};
    }
    bool frozen() const override { return false; }
    void stand(bool standing) override {
      stands = standing;
      if (standing && ++stood == world.cut_at_stand_ && !taken) captured(epoch.next(), rank.capture(epoch.next()));
    }
    const peal::snapshot* start() const override { return start_from; }
    p2pdvm::result<payload> input(std::string_view name) override {
      const auto found = world.inputs_.find(std::string(name));
      if (found == world.inputs_.end()) return payload();
      return payload::copy_of(as_bytes(found->second));
    }
    p2pdvm::result<std::string> option(std::string_view name) const override {
      const auto found = world.options_.find(std::string(name));
      if (found == world.options_.end())
        return error(errc::invalid_argument, "no option --" + std::string(name));
      return found->second;
    }
    time_point now() const override { return world.now_; }
    void release_after(duration delay, suspension& gate) override {
      world.timers_.emplace(world.now_ + delay, &gate);
    }
    void forget_release(suspension& gate) override {
      std::erase_if(world.timers_, [&](const auto& t) { return t.second == &gate; });
    }
    std::size_t peers() const override { return 1; }
    std::optional<duration> round_trip(rank_number to) const override {
      return world.round_trip_ ? world.round_trip_(rank.id(), static_cast<int>(to.value())) : duration::zero();
    }
    std::uint32_t cores() const override { return world.cores_; }
    std::optional<std::string> file_name(rank_number of, std::uint16_t number) override {
      return world.members_[of.value()]->rank.file_name(number);
    }
    void explain(std::string sentence) override { world.explained_.push_back(std::move(sentence)); }

    local_world& world;
    const peal::snapshot* start_from;
    std::optional<messaging::endpoint_state> state;
    messaging::endpoint end;
    peal::rank rank;
    epoch_number epoch;
    std::uint64_t stood = 0;
    bool stands = false;
    std::optional<peal::snapshot> taken, last;
    std::exception_ptr failure;
  };

  static peal::snapshot with_late_log(const peal::snapshot& taken,
                                      const std::vector<messaging::rank_message>& late) {
    peal::snapshot whole;
    for (const auto& piece : taken.pieces()) {
      if (piece.name != "messages") {
        whole.add(piece);
        continue;
      }
      auto state = *wire::decode<messaging::endpoint_state>(piece.whole().view());
      state.absorb(late);
      whole.add(piece.name, payload(wire::encode(state)));
    }
    return whole;
  }
  [[nodiscard]] epoch_number wished_epoch() const {
    if (cut_at_ == 0) return epoch_number(0);
    return members_.front()->start_from == nullptr ? epoch_number(1) : epoch_number(2);
  }
  bool cut_one_that_stands() {
    const auto has_cut = [](const auto& m) { return m->taken.has_value(); };
    if (cut_at_stand_ == 0 || std::none_of(members_.begin(), members_.end(), has_cut)) return false;
    for (const auto& m : members_) {
      if (!m->stands || m->taken || m->rank.finished()) continue;
      const std::lock_guard lock(token_);
      m->captured(m->epoch.next(), m->rank.capture(m->epoch.next()));
      return true;
    }
    return false;
  }
  void acknowledge() {
    while (!due_.empty()) {
      messaging::endpoint* e = due_.back();
      due_.pop_back();
      for (const auto& ack : e->take_acknowledgements())
        members_[ack.source.value()]->end.on_acknowledgement(ack);
    }
  }

  queue_context queue_;
  driver_token token_;
  options options_;
  std::map<std::string, std::string> inputs_;
  std::uint64_t cut_at_ = 0, cut_at_stand_ = 0;
  time_point now_{};
  std::multimap<time_point, suspension*> timers_;
  std::vector<messaging::endpoint*> due_;
  std::optional<std::string> abandoned_;
  round_trips round_trip_;
  std::uint32_t cores_ = 0;
  std::vector<std::string> explained_;
  std::vector<std::unique_ptr<member>> members_;
};

}  // namespace p2pdvm::test
