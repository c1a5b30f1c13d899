#include "runtime/sync_worker.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

namespace stele {

SyncWorker::SyncWorker(boost::asio::io_context& loop) : loop_(loop), thread_([this] { work(); }) {}

SyncWorker::~SyncWorker() {
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

void SyncWorker::run(std::function<Status()> job, std::function<void(Status)> done) {
    // The loop must not run dry while an acknowledgement is on its way to it.
    auto guard = boost::asio::make_work_guard(loop_);
    auto deliver = [this, guard, done = std::move(done)](Status status) mutable {
        boost::asio::post(loop_, [guard, done = std::move(done), status = std::move(status)]() { done(status); });
    };
    {
        const std::lock_guard lock(mutex_);
        jobs_.push_back({std::move(job), std::move(deliver)});
    }
    wake_.notify_one();
}

void SyncWorker::work() {
    for (;;) {
        Job job;
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
            if (jobs_.empty()) return;
            job = std::move(jobs_.front());
            jobs_.pop_front();
        }
        job.done(job.work());
    }
}

}  // namespace stele
