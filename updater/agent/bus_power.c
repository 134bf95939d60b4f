/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "updater/agent/bus_steps.h"

#define POLKIT         "org.freedesktop.PolicyKit1"
#define MAY_INTERACT   1u
#define ASK_USEC       (300ull * 1000 * 1000) /* a person types a password meanwhile */
#define ASKS_MAX       32u
#define ASKS_OF_SENDER 4u

/* A call that waits for polkit's answer. */
struct bus_ask {
	struct bus *bus;
	struct bus_ask *next;
	sd_bus_message *call;
	sd_bus_slot *slot;
	enum bus_power power;
	bus_granted_fn run;
};

static const char *const actions[] = {
	[BUS_CHECK] = "org.proa.host1.check",
	[BUS_STAGE] = "org.proa.host1.stage",
	[BUS_REBOOT] = "org.proa.host1.reboot",
	[BUS_POLICY] = "org.proa.host1.policy",
};

static void ask_free(struct bus_ask *k)
{
	struct bus_ask **at = &k->bus->asks;

	while (*at && *at != k)
		at = &(*at)->next;
	if (*at)
		*at = k->next;
	(void)sd_bus_slot_unref(k->slot);
	(void)sd_bus_message_unref(k->call);
	free(k);
}

void bus_power_close(struct bus *b)
{
	while (b->asks)
		ask_free(b->asks);
}

static int denied(sd_bus_message *call, enum bus_power p, bool challenge, bool absent)
{
	if (challenge)
		return sd_bus_reply_method_errorf(
			call, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
			"this needs the power %s, and somebody to confirm it: use sudo, or let "
			"polkit grant it (org.proa.Host1(5))",
			actions[p]);
	if (absent)
		return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_ACCESS_DENIED,
						  "only root may do this: there is no polkit here "
						  "to grant %s (sudo)",
						  actions[p]);
	return sd_bus_reply_method_errorf(
		call, SD_BUS_ERROR_ACCESS_DENIED,
		"this needs the power %s: use sudo, or let polkit grant it (org.proa.Host1(5))",
		actions[p]);
}

/* Whatever is not a clear yes is a no. */
static int on_answer(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct bus_ask *k = arg;
	int yes = 0, challenge = 0, r = -1;

	(void)error;
	if (!sd_bus_message_is_method_error(m, NULL))
		r = sd_bus_message_enter_container(m, 'r', "bba{ss}");
	if (r >= 0)
		r = sd_bus_message_read(m, "bb", &yes, &challenge);
	if (r >= 0 && yes)
		r = k->run(k->bus, k->call);
	else
		r = denied(k->call, k->power, r >= 0 && challenge,
			   sd_bus_message_is_method_error(m, NULL));
	ask_free(k);
	return r < 0 ? r : 0;
}

static bool sender_is_root(sd_bus_message *m)
{
	sd_bus_creds *creds = NULL;
	uid_t uid = (uid_t)-1;
	int r = sd_bus_query_sender_creds(m, SD_BUS_CREDS_EUID, &creds);

	if (r >= 0)
		r = sd_bus_creds_get_euid(creds, &uid);
	(void)sd_bus_creds_unref(creds);
	return r >= 0 && uid == 0;
}

static int ask(struct bus_ask *k, struct bus *b, sd_bus_message *m)
{
	bool interact = sd_bus_message_get_allow_interactive_authorization(m) > 0;
	sd_bus_message *q = NULL;
	int r = sd_bus_message_new_method_call(b->bus, &q, POLKIT,
					       "/org/freedesktop/PolicyKit1/Authority",
					       POLKIT ".Authority", "CheckAuthorization");

	if (r >= 0)
		r = sd_bus_message_append(q, "(sa{sv})s", "system-bus-name", 1, "name", "s",
					  sd_bus_message_get_sender(m), actions[k->power]);
	if (r >= 0)
		r = sd_bus_message_append(q, "a{ss}us", 0, interact ? MAY_INTERACT : 0u, "");
	if (r >= 0)
		r = sd_bus_call_async(b->bus, &k->slot, q, on_answer, k, ASK_USEC);
	(void)sd_bus_message_unref(q);
	return r;
}

/* Whoever may not call must not keep others from asking. */
static bool too_many(const struct bus *b, const char *sender)
{
	unsigned all = 0, own = 0;

	for (const struct bus_ask *k = b->asks; k; k = k->next) {
		all++;
		own += strcmp(sd_bus_message_get_sender(k->call), sender) == 0;
	}
	return all >= ASKS_MAX || own >= ASKS_OF_SENDER;
}

int bus_power_ask(struct bus *b, enum bus_power p, sd_bus_message *m, bus_granted_fn run)
{
	const char *sender = sd_bus_message_get_sender(m);
	struct bus_ask *k;
	int r;

	if (p == BUS_READ || b->peer || sender_is_root(m))
		return run(b, m);
	if (!sender || too_many(b, sender))
		return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_LIMITS_EXCEEDED,
						  "too many calls wait to be allowed");
	k = calloc(1, sizeof(*k));
	if (!k)
		return denied(m, p, false, true);
	*k = (struct bus_ask){
		.bus = b, .next = b->asks, .call = sd_bus_message_ref(m), .power = p, .run = run
	};
	b->asks = k;
	r = ask(k, b, m);
	if (r >= 0)
		return 1;
	ask_free(k);
	return denied(m, p, false, true);
}
