/* The adaptive wait: awake only when that has paid. What is looked at is trust and what is returned, never how long it took. */
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/run/vigil.h"

#include "tests/lib/test.h"

struct scene {
    int epoll_fd;
    int event_fd;
    struct vigil vigil;
};

static void scene_open(struct scene *self, uint64_t window_us)
{
    *self = (struct scene){.epoll_fd = epoll_create1(EPOLL_CLOEXEC),
                           .event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                           .vigil = {.window_us = window_us}};
    struct epoll_event event = {.events = EPOLLIN};
    ck_assert_int_eq(epoll_ctl(self->epoll_fd, EPOLL_CTL_ADD, self->event_fd, &event), 0);
}

static void scene_close(struct scene *self)
{
    (void) close(self->event_fd);
    (void) close(self->epoll_fd);
}

static int scene_wait(struct scene *self, int timeout_ms)
{
    struct epoll_event events[4];
    return vigil_wait(&self->vigil, self->epoll_fd, events, 4, timeout_ms);
}

static void scene_event(struct scene *self)
{
    ck_assert_int_eq(eventfd_write(self->event_fd, 1), 0);
}

static void scene_take(struct scene *self)
{
    eventfd_t value = 0;
    ck_assert_int_eq(eventfd_read(self->event_fd, &value), 0);
}

TEST(events_that_come_closely_are_trusted_and_a_pause_ends_that)
{
    struct scene scene;
    scene_open(&scene,
               1000000); /* whatever the machine does, an event that is there comes within it */
    ck_assert_int_eq(scene.vigil.trust, 0);
    for (int i = 0; i < 20; i++) {
        scene_event(&scene);
        ck_assert_int_eq(scene_wait(&scene, 10000), 1);
        scene_take(&scene);
    }
    int trust = scene.vigil.trust;
    ck_assert_int_gt(trust, 0);
    ck_assert_int_lt(trust, 20); /* bounded: it is lost as quickly as it came */
    scene.vigil.window_us = 50;
    unsigned vain = 0;
    while (scene.vigil.trust > 0) {
        ck_assert_int_eq(scene_wait(&scene, 1), 0);
        ck_assert_uint_lt(++vain, 4);
    }
    ck_assert_int_eq(scene_wait(&scene, 1), 0);
    ck_assert_int_eq(scene.vigil.trust, 0); /* never below */
    scene_close(&scene);
}

TEST(without_a_window_or_a_timeout_it_only_asks)
{
    struct scene scene;
    scene_open(&scene, 0);
    scene_event(&scene);
    ck_assert_int_eq(scene_wait(&scene, 10000), 1);
    ck_assert_int_eq(scene.vigil.trust, 0);
    scene_take(&scene);
    scene.vigil = (struct vigil){.window_us = 1000000, .trust = 3};
    ck_assert_int_eq(scene_wait(&scene, 0), 0);
    ck_assert_int_eq(scene.vigil.trust, 3);
    scene_close(&scene);
}

static void *event_later(void *ud)
{
    (void) usleep(2000);
    scene_event(ud);
    return NULL;
}

TEST(an_event_ends_the_wait_whether_awake_or_not)
{
    static const uint64_t windows[] = {0, 10, 1000000};
    for (unsigned i = 0; i < 3; i++) {
        struct scene scene;
        pthread_t thread;
        scene_open(&scene, windows[i]);
        scene.vigil.trust = 4;
        ck_assert_int_eq(pthread_create(&thread, NULL, event_later, &scene), 0);
        ck_assert_int_eq(scene_wait(&scene, 20000), 1);
        (void) pthread_join(thread, NULL);
        scene_close(&scene);
    }
}
