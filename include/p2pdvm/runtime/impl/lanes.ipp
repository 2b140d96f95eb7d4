#pragma once

#include <p2pdvm/runtime/lanes.hpp>

#include <utility>

namespace p2pdvm::runtime {

class lanes::way final : public host::lane_handler {
 public:
  way(lanes& of, const node_id& host) : of_(of), host_(host) {}

  void on_lane_message(byte_view head, host::lane_body& body) override {
    of_.owner_.on_lane_message(host_, head, body);
  }
  void on_lane_ended() override { of_.ended(host_); }

  std::unique_ptr<host::lane> lane;
  std::uint64_t attempt = 0;  ///< under way; 0: none
  bool offered = false;       ///< by this side
  bool failed = false;        ///< the last attempt
  time_point not_before;      ///< the next attempt

 private:
  lanes& of_;
  node_id host_;
};

P2PDVM_DECL lanes::lanes(lanes_owner& owner, host::clock& clock, host::neighbourhood* through,
                         const node_id& self)
    : owner_(owner),
      clock_(clock),
      through_(through),
      self_(self),
      alive_(std::make_shared<lanes*>(this)) {}

P2PDVM_DECL lanes::~lanes() { *alive_ = nullptr; }

P2PDVM_DECL lanes::way& lanes::way_to(const node_id& host) {
  auto& found = ways_[host];
  if (!found) found = std::make_unique<way>(*this, host);
  return *found;
}

P2PDVM_DECL bool lanes::likely(const node_id& host) const {
  const auto found = ways_.find(host);
  return possible(host) && (found == ways_.end() || !found->second->failed);
}

P2PDVM_DECL void lanes::want(const node_id& host) {
  if (!possible(host)) return;
  way& w = way_to(host);
  if (w.lane || w.attempt != 0 || clock_.now() < w.not_before) return;
  const std::uint64_t attempt = ++attempts_;
  const auto offered = through_->offer([alive = alive_, host, attempt](auto lane) {
    if (*alive != nullptr) (*alive)->made(host, attempt, std::move(lane));
  });
  w.not_before = clock_.now() + pause;
  if (!offered.ok()) return;
  w.attempt = attempt;
  w.offered = true;
  owner_.send(host, lane_offer{*offered});
}

P2PDVM_DECL void lanes::on_offer(const node_id& from, const lane_offer& offer) {
  if (through_ == nullptr) return;
  way& w = way_to(from);
  // It will join this side's, or has done so already: its own offer was under way by then. If it has lost the lane,
  // this side will soon hear that, too.
  if ((w.attempt != 0 || w.lane) && w.offered && self_ < from) return;
  if (std::exchange(w.lane, nullptr)) owner_.use_lane(from, nullptr);  // it has another one, or none
  const std::uint64_t attempt = ++attempts_;
  w.attempt = attempt;
  w.offered = false;
  through_->join(offer.name, [alive = alive_, from, attempt](auto lane) {
    if (*alive != nullptr) (*alive)->made(from, attempt, std::move(lane));
  });
}

P2PDVM_DECL void lanes::made(const node_id& host, std::uint64_t attempt,
                             result<std::unique_ptr<host::lane>> lane) {
  way& w = way_to(host);
  if (w.attempt != attempt) return;
  w.attempt = 0;
  w.not_before = clock_.now() + pause;
  w.failed = !lane.ok();
  if (w.failed) return;
  w.lane = std::move(*lane);
  w.lane->start(w);
  owner_.use_lane(host, w.lane.get());
}

P2PDVM_DECL void lanes::ended(const node_id& host) {
  way& w = way_to(host);
  w.not_before = clock_.now() + pause;
  const std::unique_ptr<host::lane> ended = std::move(w.lane);
  owner_.use_lane(host, nullptr);
}

P2PDVM_DECL void lanes::forget(const node_id& host) {
  const auto found = ways_.find(host);
  if (found == ways_.end()) return;
  const std::unique_ptr<way> gone = std::move(found->second);
  ways_.erase(found);
  if (gone->lane) owner_.use_lane(host, nullptr);
}

}  // namespace p2pdvm::runtime
