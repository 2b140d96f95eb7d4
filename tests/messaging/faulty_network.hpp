/// A network that ends streams at a chosen byte or time, hides their end from one side or from both,
/// and moves a peer from machine to machine: what the Internet does to connections.
#pragma once

#include <p2pdvm/host/host.hpp>
#include <p2pdvm/host/timer.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace p2pdvm::test {

/// Who learns that a stream has ended.
enum class stream_end : std::uint8_t {
  both,    ///< this side now, the other one as fast as the network is
  one,     ///< this side now, the other one after `stream_fate::linger`
  nobody,  ///< it falls silent
};
inline constexpr std::size_t stream_ends = 3;

/// What befalls one stream. Bytes are counted from its beginning.
struct stream_fate {
  std::size_t read_max = ~std::size_t{0};
  std::size_t write_max = ~std::size_t{0};
  duration life = duration::max();
  stream_end end = stream_end::both;
  duration linger{};
};

/// One peer's network, which is that of one machine at a time.
class faulty_network final : public host::network {
 public:
  using draw = std::function<stream_fate()>;
  /// `clock` and `places` must outlive this, and this all that it gives out.
  faulty_network(host::clock& clock, std::vector<host::network*> places, draw fate)
      : clock_(clock), places_(std::move(places)), draw_(std::move(fate)) {}

  /// To another machine, with another address; the streams of the old one end.
  [[nodiscard]] result<> move(std::size_t place, stream_end how, duration linger) {
    place_ = place;
    auto moved = listener_ == nullptr ? result<>() : listener_->open();
    cut_all(how, linger);
    return moved;
  }
  void cut_all(stream_end how, duration linger) {
    // One that ends may make its owner end others, and begin new ones.
    std::vector<std::uint64_t> all;
    for (const auto& [serial, s] : streams_) all.push_back(serial);
    for (const std::uint64_t serial : all) {
      const auto found = streams_.find(serial);
      if (found != streams_.end()) found->second->cut(how, linger);
    }
  }
  [[nodiscard]] std::size_t place() const noexcept { return place_; }
  [[nodiscard]] std::size_t streams() const noexcept { return streams_.size(); }
  [[nodiscard]] std::size_t streams_max() const noexcept { return streams_max_; }
  [[nodiscard]] std::size_t unsent_max() const noexcept { return unsent_max_; }
  /// Streams that were cut, by who learns of it.
  [[nodiscard]] const std::array<std::uint64_t, stream_ends>& cuts() const noexcept { return cuts_; }

  result<std::unique_ptr<host::datagram_socket>> open_datagrams(
      const address& local, host::datagram_handler& handler) override {
    return places_[place_]->open_datagrams(local, handler);
  }
  result<std::unique_ptr<host::listener>> listen(const address& local,
                                                 host::listen_handler& handler) override {
    auto door = std::make_unique<moving_listener>(*this, local, handler);
    if (auto opened = door->open(); !opened) return opened.error();
    return std::unique_ptr<host::listener>(std::move(door));
  }
  std::unique_ptr<host::stream> connect(const address& remote) override {
    return std::make_unique<faulty_stream>(*this, places_[place_]->connect(remote));
  }
  [[nodiscard]] std::vector<address> interfaces() const override {
    return places_[place_]->interfaces();
  }

 private:
  class faulty_stream;

  /// The real stream and what hears it: outlives the owner's stream when nobody tells the remote.
  struct body final : host::stream_handler {
    body(faulty_network& n, faulty_stream& o, std::unique_ptr<host::stream> s)
        : net(n), owner(&o), stream(std::move(s)), timer(n.clock_) {}
    void on_open() override {
      if (owner != nullptr) owner->on_open();
    }
    void on_data(byte_view bytes) override {
      if (owner != nullptr) owner->on_data(bytes);
    }
    void on_drained() override {
      if (owner != nullptr) owner->on_drained();
    }
    void on_closed(const error& why) override {
      if (owner != nullptr) owner->on_closed(why);
    }
    faulty_network& net;
    faulty_stream* owner;
    std::unique_ptr<host::stream> stream;
    host::timer timer;
  };

  class faulty_stream final : public host::stream {
   public:
    faulty_stream(faulty_network& net, std::unique_ptr<host::stream> inner)
        : net_(net),
          serial_(++net.last_serial_),
          fate_(net.draw_()),
          local_(inner->local()),
          remote_(inner->remote()),
          body_(std::make_unique<body>(net, *this, std::move(inner))),
          timer_(net.clock_) {
      net_.streams_[serial_] = this;
      net_.streams_max_ = std::max(net_.streams_max_, net_.streams_.size());
    }
    ~faulty_stream() override { net_.streams_.erase(serial_); }

    [[nodiscard]] address local() const override { return local_; }
    [[nodiscard]] address remote() const override { return remote_; }
    void start(host::stream_handler& handler) override {
      handler_ = &handler;
      if (ended_) return told_ ? timer_.after({}, [this] { tell(); }) : void();
      if (fate_.life != duration::max()) cut_after(fate_.life);
      body_->stream->start(*body_);
    }
    void write(byte_vector bytes) override {
      if (ended_) {
        swallowed_ += bytes.size();
      } else if (bytes.size() < fate_.write_max) {
        fate_.write_max -= bytes.size();
        body_->stream->write(std::move(bytes));
      } else {
        bytes.resize(fate_.write_max);
        fate_.write_max = 0;
        if (!bytes.empty()) body_->stream->write(std::move(bytes));
        cut_after({});
      }
      net_.unsent_max_ = std::max(net_.unsent_max_, unsent());
    }
    [[nodiscard]] std::size_t unsent() const override {
      return swallowed_ + (body_ == nullptr ? 0 : body_->stream->unsent());
    }
    void pause(bool paused) override {
      if (!ended_) body_->stream->pause(paused);
    }

    /// May destroy this.
    void cut(stream_end how, duration linger) {
      if (ended_) return;
      ended_ = true;
      told_ = how != stream_end::nobody;
      timer_.cancel();
      ++net_.cuts_[static_cast<std::size_t>(how)];
      if (how == stream_end::both) {
        body_.reset();
      } else {
        body_->owner = nullptr;
        body_->stream->pause(true);
        if (how == stream_end::one) net_.bury(std::move(body_), linger);
      }
      if (told_) tell();
    }
    void on_open() { handler_->on_open(); }
    void on_drained() { handler_->on_drained(); }
    void on_closed(const error& why) {
      ended_ = true;
      timer_.cancel();
      handler_->on_closed(why);
    }
    void on_data(byte_view bytes) {
      const bool last = bytes.size() >= fate_.read_max;
      if (!last) {
        fate_.read_max -= bytes.size();
        return handler_->on_data(bytes);
      }
      const byte_view head = bytes.first(std::exchange(fate_.read_max, 0));
      const faulty_network& net = net_;
      const std::uint64_t serial = serial_;
      if (!head.empty()) handler_->on_data(head);
      if (net.streams_.contains(serial)) cut(fate_.end, fate_.linger);
    }

   private:
    void cut_after(duration delay) {
      timer_.after(delay, [this] { cut(fate_.end, fate_.linger); });
    }
    void tell() {
      if (handler_ != nullptr)
        std::exchange(handler_, nullptr)->on_closed(error(errc::io, "the connection was cut"));
    }

    faulty_network& net_;
    std::uint64_t serial_;
    stream_fate fate_;
    address local_;
    address remote_;
    std::unique_ptr<body> body_;
    host::timer timer_;
    host::stream_handler* handler_ = nullptr;
    std::size_t swallowed_ = 0;
    bool ended_ = false;
    bool told_ = false;
  };

  class moving_listener final : public host::listener, private host::listen_handler {
   public:
    moving_listener(faulty_network& net, const address& local, host::listen_handler& handler)
        : net_(net), local_(local), handler_(handler) {
      net_.listener_ = this;
    }
    ~moving_listener() override { net_.listener_ = nullptr; }
    [[nodiscard]] address local() const override { return inner_->local(); }
    [[nodiscard]] result<> open() {
      inner_.reset();
      auto opened = net_.places_[net_.place_]->listen(local_, *this);
      if (!opened) return opened.error();
      inner_ = std::move(*opened);
      return {};
    }

   private:
    void on_accept(std::unique_ptr<host::stream> connection) override {
      handler_.on_accept(std::make_unique<faulty_stream>(net_, std::move(connection)));
    }
    faulty_network& net_;
    address local_;
    host::listen_handler& handler_;
    std::unique_ptr<host::listener> inner_;
  };

  void bury(std::unique_ptr<body> b, duration linger) {
    b->timer.after(linger, [this, key = b.get()] {
      std::erase_if(graves_, [key](const auto& g) { return g.get() == key; });
    });
    graves_.push_back(std::move(b));
  }

  host::clock& clock_;
  std::vector<host::network*> places_;
  draw draw_;
  std::size_t place_ = 0;
  moving_listener* listener_ = nullptr;
  std::map<std::uint64_t, faulty_stream*> streams_;
  std::uint64_t last_serial_ = 0;
  std::vector<std::unique_ptr<body>> graves_;
  std::array<std::uint64_t, stream_ends> cuts_{};
  std::size_t streams_max_ = 0;
  std::size_t unsent_max_ = 0;
};

}  // namespace p2pdvm::test
