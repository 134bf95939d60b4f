# SPDX-License-Identifier: Apache-2.0
# bash completion for proactl(1)
_proactl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb= i
	local verbs='status check stage apply update reboot why rollback forgive history health audit pause continue limit'
	local options='--direct --config --json --help --version'

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--config | --reason) ((i++)) ;;
		-*) ;;
		*) verb=${COMP_WORDS[i]} && break ;;
		esac
	done
	case $prev in
	--config)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--reason) return ;;
	esac
	case $verb in
	'') [[ $cur == -* ]] || options=$verbs ;;
	stage) options+=' --dry-run --any-size' ;;
	update) options+=' --reboot --unattended --any-size' ;;
	reboot) options+=' --force --unattended' ;;
	limit) [[ $cur == -* ]] || options=off ;;
	rollback) options+=' --reason' ;;
	audit) options='--next --pcr --deep --all --json --repository --attest --nonce --challenge --tpm --root --esp --disk
		--state --time --help' ;;
	forgive)
		[[ $cur == -* ]] ||
			options=$(proactl status --json 2>/dev/null |
				sed -n '/"failed"/,/\]/s/.*"version": "\([^"]*\)".*/\1/p')
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
}
complete -F _proactl proactl
