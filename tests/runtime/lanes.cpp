/// Who offers a lane to whom, when both want one at once and when one is lost.
#include "support/test.hpp"

#include <p2pdvm/runtime/lanes.hpp>
#include <p2pdvm/sim/simulation.hpp>

#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace p2pdvm::test {
namespace {

node_id node(std::uint8_t number) {
  node_id id;
  id.mutable_bytes()[0] = std::byte{number};
  return id;
}

const node_id stranger = node(200);  ///< on another computer

struct no_lane final : host::lane {
  void start(host::lane_handler&) override {}
  void send(byte_view, const payload&) override {}
};

/// Two processes of one computer; what they say to each other waits until it is delivered.
class computer {
 public:
  class process final : public runtime::lanes_owner, public host::neighbourhood {
   public:
    process(computer& of, host::clock& clock, std::uint8_t number)
        : of_(of), self(node(number)), lanes(*this, clock, this, self) {}
    void send(const node_id&, runtime::job_message message) override { said.push_back(std::move(message)); }
    bool on_this_machine(const node_id& host) const override { return host != stranger; }
    void use_lane(const node_id&, host::lane* lane) override { used = lane; }
    void on_lane_message(const node_id&, byte_view, host::lane_body&) override {}
    result<host::lane_name> offer(done call) override {
      host::lane_name name{};
      name[0] = std::byte{++of_.names_};
      of_.offers_[name] = std::move(call);
      return name;
    }
    void join(const host::lane_name& name, done call) override {
      of_.later_.push_back([this, name, call = std::move(call)] {
        const auto offered = of_.offers_.extract(name);
        if (offered.empty()) return call(error(errc::unreachable, "nobody offers it"));
        offered.mapped()(std::unique_ptr<host::lane>(std::make_unique<no_lane>()));
        call(std::unique_ptr<host::lane>(std::make_unique<no_lane>()));
      });
    }

    std::uint32_t cores() const override { return 3; }

   private:
    computer& of_;

   public:
    node_id self;
    runtime::lanes lanes;
    std::vector<runtime::job_message> said;
    host::lane* used = nullptr;
  };

  void hear(process& who, const process& from, const runtime::job_message& message) {
    who.lanes.on_offer(from.self, std::get<runtime::lane_offer>(message));
  }
  /// Whoever joins comes to whoever offered.
  void meet() {
    while (!later_.empty()) {
      const auto action = std::move(later_.front());
      later_.erase(later_.begin());
      action();
    }
  }

 private:
  sim::simulation net_{sim::options()};
  sim::machine& machine_ = net_.add_machine();
  std::map<host::lane_name, host::neighbourhood::done> offers_;
  std::vector<std::function<void()>> later_;
  std::uint8_t names_ = 0;

 public:
  [[nodiscard]] host::clock& clock() { return machine_.clock(); }
  process small{*this, machine_.clock(), 1}, large{*this, machine_.clock(), 2};
};

TEST_CASE("one of two offers that cross becomes the lane of both, however late the other one comes") {
  for (const bool met_before : {false, true}) {
    computer c;
    c.small.lanes.want(c.large.self);
    c.large.lanes.want(c.small.self);
    REQUIRE(c.small.said.size() == 1);
    REQUIRE(c.large.said.size() == 1);
    c.hear(c.large, c.small, c.small.said[0]);
    if (met_before) c.meet();
    c.hear(c.small, c.large, c.large.said[0]);
    c.meet();
    CHECK(c.small.used != nullptr);
    CHECK(c.large.used != nullptr);
  }
}

TEST_CASE("members of this computer are known to share its memory and cores before there is a lane") {
  computer c;
  CHECK(c.small.lanes.possible(c.large.self));
  CHECK_FALSE(c.small.lanes.possible(stranger));
  CHECK(c.small.lanes.cores() == 3);
  runtime::lanes none(c.small, c.clock(), nullptr, c.small.self);
  CHECK_FALSE(none.possible(c.large.self));
  CHECK(none.cores() == 0);
}

}  // namespace
}  // namespace p2pdvm::test
