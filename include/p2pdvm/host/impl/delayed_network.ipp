#pragma once

#include <p2pdvm/host/delayed_network.hpp>

#include <algorithm>
#include <optional>
#include <utility>

namespace p2pdvm::host {

P2PDVM_DECL time_point delayed_network::link::pass(time_point now, std::size_t bytes,
                                                   std::uint64_t rate) {
  if (rate == 0) return now;
  constexpr std::uint64_t second = 1'000'000'000;
  free_ = std::max(now, free_) + duration(static_cast<std::int64_t>(bytes * 8 * second / rate));
  return free_;
}

P2PDVM_DECL duration delayed_network::link::queue(time_point now) const {
  return std::max<duration>(free_ - now, duration::zero());
}

P2PDVM_DECL duration delayed_network::on_way(const path& way) {
  if (way.jitter <= 0) return way.one_way;
  const double u = random_.unit();
  const double late = static_cast<double>(way.one_way.count()) * way.jitter * u * u;
  return way.one_way + duration(static_cast<std::int64_t>(late));
}

P2PDVM_DECL duration delayed_network::on_way(const path& way, std::size_t stream_bytes) {
  constexpr std::size_t packet_bytes = 1448;
  constexpr duration retransmission_min = std::chrono::milliseconds(200);
  const duration time = on_way(way);
  if (way.loss <= 0) return time;
  const auto packets = static_cast<double>(stream_bytes / packet_bytes + 1);
  if (!random_.chance(std::min(0.5, way.loss * packets))) return time;
  // Mostly the packets behind a lost one tell; else the sender's timer has to.
  const duration round = 2 * way.one_way;
  return time + (random_.chance(0.75) ? round : std::max(retransmission_min, 2 * round));
}

/// Both directions are queues of bytes with the times at which they are over there, or here.
class delayed_network::delayed_stream final : public stream, private stream_handler {
 public:
  delayed_stream(delayed_network& net, std::unique_ptr<stream> inner, const path& way)
      : net_(net),
        inner_(std::move(inner)),
        way_(way),
        out_timer_(net.clock_),
        in_timer_(net.clock_) {}
  ~delayed_stream() override { *alive_ = false; }

  [[nodiscard]] address local() const override { return inner_->local(); }
  [[nodiscard]] address remote() const override { return inner_->remote(); }
  void start(stream_handler& handler) override {
    handler_ = &handler;
    inner_->start(*this);
  }
  void write(byte_vector bytes) override {
    if (bytes.empty() || over_) return;
    out_bytes_ += bytes.size();
    out_.push_back({open_ ? arrives(bytes.size()) : time_point_never, std::move(bytes)});
    arm_out();
  }
  [[nodiscard]] std::size_t unsent() const override {
    return over_ ? 0 : out_bytes_ + inner_->unsent();
  }
  void pause(bool paused) override {
    paused_ = paused;
    hold_back();
    arm_in();
  }

 private:
  struct piece {
    time_point due;
    byte_vector bytes;
  };
  struct arrival {
    enum class kind { open, data, end } what;
    time_point due;
    byte_vector bytes;
    std::optional<error> why;
  };

  [[nodiscard]] time_point now() const { return net_.clock_.now(); }
  /// When bytes that go into the link now are there.
  [[nodiscard]] time_point arrives(std::size_t bytes) {
    const time_point gone = net_.up_.pass(now(), bytes, way_.up);
    const time_point due = gone + net_.on_way(way_, bytes);
    last_out_ = std::max(last_out_, due);
    return last_out_;
  }

  // From the real connection.
  void on_open() override {
    const duration there = net_.on_way(way_, 0);
    const duration back = net_.on_way(way_, 0);
    arrive({arrival::kind::open, now() + there + back, {}, {}});
  }
  void on_data(byte_view bytes) override {
    in_bytes_ += bytes.size();
    const time_point gone = net_.down_.pass(now(), bytes.size(), way_.down);
    arrive({arrival::kind::data, gone + net_.on_way(way_, bytes.size()), to_vector(bytes), {}});
    hold_back();
  }
  void on_drained() override {
    if (out_.empty() && handler_ != nullptr) handler_->on_drained();
  }
  void on_closed(const error& why) override {
    ended_ = true;
    arrive({arrival::kind::end, now() + net_.on_way(way_), {}, why});
  }

  void arrive(arrival what) {
    if (!in_.empty()) what.due = std::max(what.due, in_.back().due);
    in_.push_back(std::move(what));
    arm_in();
  }

  void hold_back() {
    const bool hold = paused_ || in_bytes_ >= delayed_bytes_max;
    if (hold == std::exchange(held_back_, hold) || ended_) return;
    inner_->pause(hold);
  }

  void arm_in() {
    const bool waits = in_.empty() || (paused_ && in_.front().what == arrival::kind::data);
    in_timer_.at(waits ? time_point_never : std::max(in_.front().due, now()), [this] { release_in(); });
  }

  /// Handlers may destroy this, pause it and write to it.
  void release_in() {
    const auto alive = alive_;
    while (!in_.empty() && in_.front().due <= now()) {
      if (paused_ && in_.front().what == arrival::kind::data) break;
      const arrival next = std::move(in_.front());
      in_.pop_front();
      in_bytes_ -= next.bytes.size();
      switch (next.what) {
        case arrival::kind::open:
          open_ = true;
          for (piece& p : out_) p.due = arrives(p.bytes.size());
          arm_out();
          handler_->on_open();
          break;
        case arrival::kind::data: handler_->on_data(next.bytes); break;
        case arrival::kind::end:
          over_ = true;
          out_.clear();
          out_bytes_ = 0;
          return std::exchange(handler_, nullptr)->on_closed(*next.why);
      }
      if (!*alive) return;
      hold_back();
    }
    arm_in();
  }

  void arm_out() {
    if (!open_ || ended_ || out_.empty() || out_timer_.armed()) return;
    out_timer_.at(std::max(out_.front().due, now()), [this] { release_out(); });
  }

  void release_out() {
    while (!ended_ && !out_.empty() && out_.front().due <= now()) {
      byte_vector bytes = std::move(out_.front().bytes);
      out_.pop_front();
      out_bytes_ -= bytes.size();
      inner_->write(std::move(bytes));
    }
    arm_out();
    // Where the system took everything at once, nobody else says so.
    if (!ended_ && out_.empty() && inner_->unsent() == 0 && handler_ != nullptr)
      handler_->on_drained();
  }

  delayed_network& net_;
  std::unique_ptr<stream> inner_;
  path way_;
  stream_handler* handler_ = nullptr;
  std::deque<piece> out_;
  std::deque<arrival> in_;
  std::size_t out_bytes_ = 0, in_bytes_ = 0;
  time_point last_out_{};
  bool open_ = false, paused_ = false, held_back_ = false;
  bool ended_ = false;  ///< the real connection
  bool over_ = false;   ///< and its handler has been told
  host::timer out_timer_, in_timer_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

class delayed_network::delayed_socket final : public datagram_socket {
 public:
  delayed_socket(delayed_network& net, std::unique_ptr<datagram_socket> inner)
      : net_(net), inner_(std::move(inner)), timer_(net.clock_) {}
  [[nodiscard]] address local() const override { return inner_->local(); }
  void send(const address& to, byte_view bytes) override {
    const time_point now = net_.clock_.now();
    if (net_.up_.queue(now) > delayed_queue_max) return;
    const path way = net_.path_to_(to);
    const time_point gone = net_.up_.pass(now, bytes.size(), way.up);
    if (way.loss > 0 && net_.random_.chance(way.loss)) return;
    const time_point due = gone + net_.on_way(way);
    // Ways differ in length: a later one may be there first.
    const auto after = std::upper_bound(queue_.begin(), queue_.end(), due,
                                        [](time_point t, const waiting& w) { return t < w.due; });
    queue_.insert(after, {due, to, to_vector(bytes)});
    arm();
  }

 private:
  struct waiting {
    time_point due;
    address to;
    byte_vector bytes;
  };
  void arm() {
    if (queue_.empty()) return;
    timer_.at(queue_.front().due, [this] {
      while (!queue_.empty() && queue_.front().due <= net_.clock_.now()) {
        const waiting next = std::move(queue_.front());
        queue_.pop_front();
        inner_->send(next.to, next.bytes);
      }
      arm();
    });
  }

  delayed_network& net_;
  std::unique_ptr<datagram_socket> inner_;
  std::deque<waiting> queue_;
  host::timer timer_;
};

P2PDVM_DECL result<std::unique_ptr<datagram_socket>> delayed_network::open_datagrams(
    const address& local, datagram_handler& handler) {
  auto inner = inner_.open_datagrams(local, handler);
  if (!inner.ok()) return inner.error();
  return std::unique_ptr<datagram_socket>(new delayed_socket(*this, std::move(*inner)));
}

P2PDVM_DECL std::unique_ptr<stream> delayed_network::connect(const address& remote) {
  return std::make_unique<delayed_stream>(*this, inner_.connect(remote), path_to_(remote));
}

}  // namespace p2pdvm::host
