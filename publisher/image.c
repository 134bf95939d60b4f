/* SPDX-License-Identifier: Apache-2.0 */
/* The verb `image`: an image from a directory, as `release` makes it, for a UKI built elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/sys.h"
#include "base/text.h"
#include "base/version.h"
#include "publisher/build.h"
#include "publisher/layout.h"
#include "publisher/verbs.h"
#include "updater/image/encode.h"
#include "verity/image.h"

enum { OSREL_MAX = 64 << 10, ADVICE_MAX = 4 };

/* IMAGE_ID= of the tree's os-release; "" when it has none. */
static void tree_image_id(const char *tree, char out[RELEASE_IMAGE_MAX])
{
	AUTO_FREE char *p = NULL;
	char path[PATH_MAX];
	const char *line, *end;
	size_t n;

	out[0] = '\0';
	(void)snprintf(path, sizeof(path), "%s/lib/os-release", tree);
	if (file_read(sys_linux(), AT_FDCWD, path, OSREL_MAX, &p, &n, NULL) < 0)
		return;
	for (line = p; line; line = *end ? end + 1 : NULL) {
		end = strchrnul(line, '\n');
		if (strncmp(line, "IMAGE_ID=", 9) != 0)
			continue;
		line += line[9] == '"' || line[9] == '\'' ? 10 : 9;
		n = strcspn(line, "\"'\n");
		(void)snprintf(out, RELEASE_IMAGE_MAX, "%.*s", (int)n, line);
	}
}

static int image_root(int fd, uint64_t bytes, const char *salt, char out[SHA256_HEX_MAX],
		      struct err *e)
{
	struct verity_area data = { .fd = fd, .bytes = bytes };
	struct image_id id = { .data_blocks = bytes / IMAGE_BLOCK };
	struct verity_super super;
	uint8_t root[DIGEST_MAX];
	int q;

	if (strlen(salt) > 2 * (size_t)SHA256_BYTES)
		return err_set(e, ERR_INPUT, EINVAL, "--salt: at most %d bytes", SHA256_BYTES);
	id.salt_n = (uint16_t)(strlen(salt) / 2);
	q = hex_parse(salt, "--salt", id.salt, id.salt_n, e);
	q = q < 0 ? q : image_super(&id, &super, e);
	q = q < 0 ? q : verity_root(sys_linux(), &data, &super, NULL, root, e);
	if (q >= 0)
		hex_format(root, SHA256_BYTES, out);
	return q;
}

static void say(const char *file, uint64_t bytes, const struct image_facts *f, const char *root)
{
	char size[32];

	for (unsigned i = 0; i < ADVICE_MAX && image_advice(f, i); i++)
		(void)fprintf(stderr, "proa-publish: warning: %s\n", image_advice(f, i));
	printf("built       %s %s\n", file, text_bytes(bytes, size, sizeof(size)));
	if (root[0])
		printf("root        %s\n", root);
	if (!getenv("SOURCE_DATE_EPOCH"))
		printf("time        1 January 2000 of all files: SOURCE_DATE_EPOCH is not set. "
		       "Units "
		       "with\n"
		       "            ConditionNeedsUpdate= run after an update if it grows.\n");
}

/* Judges what was built and puts it in its place. */
static int finish(const char *part, const char *file, const char *salt, struct err *e)
{
	AUTO_SYS_FD f = { sys_linux(), -1 };
	char root[SHA256_HEX_MAX] = "";
	struct image_facts facts;
	uint64_t bytes = 0;
	int q;

	f.fd = open(part, O_RDONLY | O_CLOEXEC);
	q = f.fd < 0 ? -errno : f.sys->ops->size(f.sys, f.fd, &bytes);
	if (q >= 0)
		q = f.sys->ops->sync(f.sys, f.fd);
	if (q < 0)
		return err_set(e, ERR_HOST, -q, "'%s': %s", part, strerror(-q));
	q = image_inspect(f.sys, f.fd, &facts, e);
	if (q >= 0 && salt)
		q = image_root(f.fd, bytes, salt, root, e);
	if (q < 0)
		return q;
	if (rename(part, file) < 0)
		return err_set(e, ERR_HOST, errno, "write '%s': %s", file, strerror(errno));
	say(file, bytes, &facts, root);
	return 0;
}

/* The image in file `part`, like the one a person named. */
static int build_like(const struct opts *o, const char *tree, const char *id, const char *part,
		      struct layout_report *ret, struct err *e)
{
	AUTO_SYS_FD like = { sys_linux(), -1 };
	char made[PATH_MAX];
	int q = snprintf(made, sizeof(made), "%s.mkfs", part);

	if (q < 0 || (size_t)q >= sizeof(made))
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "'%.100s...' is too long", part);
	if (o->wish.like && strcmp(o->wish.like, "none") != 0) {
		like.fd = open(o->wish.like, O_RDONLY | O_CLOEXEC);
		if (like.fd < 0)
			return err_set(e, ERR_INPUT, errno, "open '%s': %s", o->wish.like,
				       strerror(errno));
	}
	q = build_image(tree, id, made, e);
	q = q < 0 ? q : layout_apply(made, like.fd, o->wish.like, part, ret, e);
	(void)unlink(made);
	return q;
}

int verb_image(const struct opts *o, struct err *e)
{
	char id[RELEASE_IMAGE_MAX], part[PATH_MAX];
	struct layout_report layout;
	const char *tree = o->word[1], *file = o->word[2];
	int q;

	if (o->n_word != 3)
		return verb_misused("image needs DIR and FILE", e);
	if (o->image)
		(void)snprintf(id, sizeof(id), "%.*s", RELEASE_IMAGE_MAX - 1, o->image);
	else
		tree_image_id(tree, id);
	if (!image_id_valid(id) || (o->image && strcmp(id, o->image) != 0))
		return err_set(
			e, ERR_INPUT, EINVAL,
			"which image is it? --image ID, or IMAGE_ID= in '%s/lib/os-release': "
			"1 to 32 of a-z 0-9 -, a letter first",
			tree);
	q = snprintf(part, sizeof(part), "%s.part", file);
	if (q < 0 || (size_t)q >= sizeof(part))
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "'%.100s...' is too long", file);
	q = build_like(o, tree, id, part, &layout, e);
	q = q < 0 ? q : finish(part, file, o->wish.salt, e);
	if (q < 0)
		(void)unlink(part);
	else
		layout_say(&layout, o->wish.like);
	return q;
}
