/* For a kernel without IPVS: loaded into keepalived (LD_PRELOAD), it stands between it and libnl, and answers what it
 * asks of IPVS, so that its checkers run at all. No kernel is asked, so this errs in keepalived's favour.
 * With NO_IPVS_LOG=FILE it writes down each change of a real server: CLOCK_MONOTONIC in ns, what, address. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/ip_vs.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct nl_sock;
struct nl_msg;

#define FAMILY 42
#define CALLBACK_ACK 4	/* netlink/handlers.h: NL_CB_ACK */

typedef int callback(struct nl_msg *, void *);

struct nlmsghdr *nlmsg_hdr(struct nl_msg *);

/* What keepalived wants called for an acknowledgement. */
static callback *acknowledged;
static void *argument;

/* The attribute of this type among those of a message or of a nest. */
static const struct nlattr *find(const char *from, const char *end, int type)
{
	while (from + NLA_HDRLEN <= end) {
		const struct nlattr *attribute = (const void *)from;

		if ((attribute->nla_type & NLA_TYPE_MASK) == type)
			return attribute;
		from += NLA_ALIGN(attribute->nla_len);
	}
	return NULL;
}

static const struct nlattr *within(const struct nlattr *nest, int type)
{
	return nest ? find((const char *)nest + NLA_HDRLEN, (const char *)nest + nest->nla_len, type) : NULL;
}

static void note(const struct nlmsghdr *message, const char *what)
{
	static int file = -2;
	const char *start = (const char *)message + NLMSG_HDRLEN + GENL_HDRLEN;
	const struct nlattr *server, *address;
	struct timespec now;
	char text[INET_ADDRSTRLEN];

	if (file == -2) {
		const char *path = getenv("NO_IPVS_LOG");

		file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
	}
	server = find(start, (const char *)message + message->nlmsg_len, IPVS_CMD_ATTR_DEST);
	address = within(server, IPVS_DEST_ATTR_ADDR);
	if (file < 0 || !address)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	inet_ntop(AF_INET, (const char *)address + NLA_HDRLEN, text, sizeof(text));
	dprintf(file, "%lld %s %s\n", now.tv_sec * 1000000000LL + now.tv_nsec, what, text);
}

int genl_ctrl_resolve(struct nl_sock *socket, const char *name)
{
	(void)socket;
	return strcmp(name, IPVS_GENL_NAME) ? -1 : FAMILY;
}

int nl_send_auto(struct nl_sock *socket, struct nl_msg *packet)
{
	const struct nlmsghdr *message = nlmsg_hdr(packet);
	const struct genlmsghdr *command = NLMSG_DATA(message);

	(void)socket;
	if (command->cmd == IPVS_CMD_NEW_DEST)
		note(message, "add");
	else if (command->cmd == IPVS_CMD_DEL_DEST)
		note(message, "del");
	else if (command->cmd == IPVS_CMD_SET_DEST)
		note(message, "edit");
	return message->nlmsg_len;
}

int nl_socket_modify_cb(struct nl_sock *socket, int type, int kind, callback *function, void *with)
{
	(void)socket;
	(void)kind;
	if (type == CALLBACK_ACK) {
		acknowledged = function;
		argument = with;
	}
	return 0;
}

int nl_recvmsgs_default(struct nl_sock *socket)
{
	(void)socket;
	if (acknowledged)
		acknowledged(NULL, argument);
	return 0;
}
