/**
 * The composition root: the only file that sees every room. Each command is imported when it is asked for, so that a
 * member's process never loads the operator's libraries, and the operator never loads Raft.
 */
import { version } from './version.ts';

const usage = `raftsman ${version}: runs Raft clusters on Kubernetes and keeps them recoverable

usage: raftsman COMMAND [flags]        (raftsman COMMAND --help lists a command's flags)

  operator   the Kubernetes operator: reconciles RaftCluster, RaftSnapshot, RaftRestore and their policies
  node       one member of an embedded Raft cluster, speaking the etcd v3 protocol and taking etcd's flags
  archive    save, inspect, verify and convert snapshot archives, in files or in a store
  job        what the operator runs in Job pods: save, verify, fetch, delete
  version    prints the version
`;

async function main(command: string | undefined, argv: string[]): Promise<number> {
  switch (command) {
    case 'operator':
      return (await import('./controllers/operator.ts')).runOperator(argv);
    case 'node':
      return (await import('./node/process.ts')).runNode(argv);
    case 'archive':
      return (await import('./cli/archive.ts')).runArchive(argv);
    case 'job':
      if (argv[0] === 'prepare') return (await import('./jobs/prepare-command.ts')).runPrepare(argv.slice(1));
      return (await import('./jobs/job.ts')).runJob(argv);
    case 'version':
    case '--version':
      process.stdout.write(`${version}\n`);
      return 0;
    case 'help':
    case '--help':
    case '-h':
      process.stdout.write(usage);
      return 0;
    case undefined:
      process.stderr.write(usage);
      return 2;
    default:
      process.stderr.write(
        `raftsman: unknown command "${command}": use operator, node, archive, job or version (raftsman --help)\n`,
      );
      return 2;
  }
}

process.exitCode = await main(process.argv[2], process.argv.slice(3));
