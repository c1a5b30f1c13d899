// An HttpClient that answers from a script, piece by piece, and keeps what it was asked.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "knowledge_sources/http_client.hpp"

namespace stele::fake {

struct Step {
    int status = 200;  // 0: no head comes
    HttpHeaders headers;
    std::vector<std::string> pieces;
    HttpEndKind end = HttpEndKind::complete;
    std::string message;
    bool nothing_sent = false;
    bool hangs = false;  // after its last piece
    std::int64_t after_ms = 0;
};

class Http : public HttpClient {
public:
    explicit Http(boost::asio::io_context& loop) : loop_(loop) {}

    /// Used up in order; the last one goes on for ever when `repeats`.
    std::deque<Step> script;
    bool repeats = false;
    std::vector<HttpRequest> asked;
    std::vector<std::chrono::steady_clock::time_point> asked_at;
    int in_flight = 0;  // started, and neither ended nor destroyed
    int most_in_flight = 0;
    int destroyed_in_flight = 0;

    std::unique_ptr<HttpExchange> start(HttpRequest request, HttpEvents events) override {
        asked.push_back(std::move(request));
        asked_at.push_back(std::chrono::steady_clock::now());
        REQUIRE_MESSAGE(!script.empty(), "asked more often than the script has answers");
        auto play = std::make_shared<Play>(*this, script.front(), std::move(events));
        if (!repeats || script.size() > 1) script.pop_front();
        ++in_flight;
        most_in_flight = std::max(most_in_flight, in_flight);
        play->timer.expires_after(std::chrono::milliseconds(play->step.after_ms));
        play->wait();
        return std::make_unique<Exchange>(std::move(play));
    }

    [[nodiscard]] std::int64_t ms_between(std::size_t first, std::size_t second) const {
        return std::chrono::duration_cast<std::chrono::milliseconds>(asked_at.at(second) - asked_at.at(first)).count();
    }

private:
    struct Play : std::enable_shared_from_this<Play> {
        Play(Http& owner_in, Step step_in, HttpEvents events_in)
            : owner(owner_in), step(std::move(step_in)), events(std::move(events_in)), timer(owner.loop_) {}

        void wait() {
            timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
                if (!error && self->live) self->go_on();
            });
        }
        // One event each time, so that whoever wants to can destroy the exchange between any two.
        void go_on() {
            const auto keep = shared_from_this();
            const std::size_t at = place++;
            if (at == 0 && step.status != 0) {
                HttpHead head;
                head.status = step.status;
                head.headers = step.headers;
                events.head(head);
            } else if (at >= 1 && at <= step.pieces.size()) {
                if (!events.data(step.pieces[at - 1]) && live) return end(HttpEndKind::stopped);
            } else if (at > step.pieces.size()) {
                if (!step.hangs) end(step.end);
                return;
            }
            if (!live) return;
            timer.expires_after(std::chrono::milliseconds(0));
            wait();
        }
        void end(HttpEndKind kind) {
            live = false;
            --owner.in_flight;
            HttpEnd ended;
            ended.kind = kind;
            ended.message = step.message;
            ended.nothing_sent = step.nothing_sent;
            const auto finished = std::move(events.finished);
            events = {};
            finished(ended);
        }
        void drop() {
            if (!live) return;
            live = false;
            --owner.in_flight;
            ++owner.destroyed_in_flight;
            timer.cancel();
        }

        Http& owner;
        Step step;
        HttpEvents events;
        boost::asio::steady_timer timer;
        std::size_t place = 0;
        bool live = true;
    };
    struct Exchange : HttpExchange {
        explicit Exchange(std::shared_ptr<Play> play_in) : play(std::move(play_in)) {}
        ~Exchange() override { play->drop(); }
        void cancel() override {}
        std::shared_ptr<Play> play;
    };

    boost::asio::io_context& loop_;
};

inline const std::string* header(const HttpRequest& request, std::string_view name) {
    for (const auto& [key, value] : request.headers) {
        if (key == name) return &value;
    }
    return nullptr;
}

}  // namespace stele::fake
